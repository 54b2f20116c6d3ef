package ike

import (
	"log/slog"
	"slices"
	"time"

	"spindle/ike/v2"
)

// hostV2 is the engine as its IKE SAs of IKEv2 see it.
type hostV2 struct{ host[*v2.SA] }

func (h hostV2) Adopt(now time.Time, sa *v2.SA) {
	if m := h.bySPI[sa.LocalSPI()]; m != nil && m.association == sa {
		h.sync(now, m)
		return
	}
	h.add(now, sa)
}

func (h hostV2) Alone(sa *v2.SA) bool {
	return !h.elsewhere(sa) && !slices.ContainsFunc(h.byPeer[sa.Remote().Addr()], func(m *machine) bool {
		other, ok := m.association.(*v2.SA)
		return ok && other != sa && other.State() <= v2.Established
	})
}

func (h hostV2) Established(now time.Time, sa *v2.SA) {
	for _, other := range h.Peers(sa) {
		if other.Remote().Addr() == sa.Remote().Addr() {
			other.Crossed(now, sa)
			h.retime(other)
		}
	}
}

// InitialContact drops the other IKE SAs with the same peer: RFC 7296 §2.4, the
// notification "asserts that this IKE SA is the only IKE SA currently active
// between the authenticated identities".
func (h hostV2) InitialContact(now time.Time, sa *v2.SA) {
	for _, other := range h.Peers(sa) {
		if other.State() != v2.Established {
			continue
		}
		h.out.Audit(slog.LevelInfo, "IKE SA dropped", slog.String("conn", other.Conn().Name),
			slog.String("peer", other.Remote().String()), slog.String("reason", "peer started anew (INITIAL_CONTACT)"))
		other.Discard(now)
		h.syncAll(now, other)
	}
}
