package api

import "net/http"

// Why is what is wrong with a connection, or that nothing is.
type Why struct {
	Name     string     `json:"name"`
	Verdict  string     `json:"verdict"` // short and constant: the reason label of the metrics
	Cause    string     `json:"cause"`   // one sentence
	Action   string     `json:"action"`  // what to do about it
	Evidence []Evidence `json:"evidence"`
}

// Evidence is what one check saw.
type Evidence struct {
	Check string `json:"check"`
	Says  string `json:"says"`
}

// UnknownSPI is ESP that arrived for an SPI this gateway does not hold, by source.
type UnknownSPI struct {
	Source  string  `json:"source"`
	Conn    string  `json:"conn"` // that names the source's address, or ""
	SPI     string  `json:"spi"`  // the last one
	Packets uint64  `json:"packets"`
	Last    Instant `json:"last"`
}

// Tally is how often something ended one way, by connection.
type Tally struct {
	Conn    string `json:"conn"`
	Outcome string `json:"outcome"`
	Count   uint64 `json:"count"`
}

// Rekeys are those of one configured child. A gap is time without an SA to send
// with, and packets that were dropped for lack of one meanwhile.
type Rekeys struct {
	Conn       string  `json:"conn"`
	Child      string  `json:"child"`
	Count      uint64  `json:"count"`
	GapUS      float64 `json:"gap_us"`
	GapPackets uint64  `json:"gap_packets"`
}

func why(b Backend) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		if name == "" {
			refuse(w, http.StatusBadRequest, "the request names no connection or peer")
			return
		}
		answer(w, func() ([]Why, error) { return b.Why(r.Context(), name) })
	}
}
