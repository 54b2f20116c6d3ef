package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
)

// Clear says which SAs go. A zero address or port is any.
type Clear struct {
	Local      netip.Addr `json:"local"`
	LocalPort  uint16     `json:"local_port,omitempty"`
	Remote     netip.Addr `json:"remote"`
	RemotePort uint16     `json:"remote_port,omitempty"`
	Children   bool       `json:"children,omitempty"` // only the child SAs: the IKE SA stands
	Silent     bool       `json:"silent,omitempty"`   // without a word to the peer, as in a crash
}

// Cleared is how many went.
type Cleared struct {
	IKE      int `json:"ike_sas"`
	Children int `json:"child_sas"`
}

func clearing(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c Clear
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			refuse(w, http.StatusBadRequest, fmt.Sprintf("read request: %v", err))
			return
		}
		answer(w, func() (Cleared, error) { return b.Clear(r.Context(), c) })
	}
}

// answer replies with what one call returns.
func answer[T any](w http.ResponseWriter, call func() (T, error)) {
	v, err := call()
	if err != nil {
		fail(w, err)
		return
	}
	reply(w, http.StatusOK, v)
}
