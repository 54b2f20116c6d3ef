package v2

import (
	"time"

	"spindle/ike/session"
)

// Status is the IKE SA as an operator sees it.
func (s *SA) Status(now time.Time) session.IKEStatus {
	st := session.IKEStatus{
		Version: 2, Exchange: "IKE_SA_INIT", State: s.state.String(), Initiator: s.initiator,
		Local: s.local, Remote: s.remote, RemoteID: s.peerID.Shown(),
		SPIi: uint64(s.spiI), SPIr: uint64(s.spiR),
		NATLocal: s.natLocal, NATRemote: s.natRemote,
		Age: now.Sub(s.created), RekeyIn: session.Until(now, s.softAt), DPD: s.dpd.Status(),
	}
	if s.protect != nil {
		st.Suite = s.suite.String()
	}
	if s.conn != nil {
		st.Conn, st.LocalID = s.conn.Name, s.conn.Local.ID.Shown()
	}
	return st
}

// Children are its child SAs as an operator sees them.
func (s *SA) Children(now time.Time) []session.ChildStatus {
	var list []session.ChildStatus
	for _, c := range s.children {
		list = append(list, c.Status(now, c.state.String(), s.local, s.remote))
	}
	return list
}

// Up reports whether a child SA carries traffic.
func (s *SA) Up() bool {
	return s.find(func(c *child) bool { return c.Sends() }) != nil
}

// Negotiating reports whether a first or further child SA is under way.
func (s *SA) Negotiating() bool {
	return s.handshake != nil || s.asking != nil && s.asking.replaces == nil
}

// Usable reports whether child SAs are to be asked for over it.
func (s *SA) Usable() bool {
	return !s.Retiring() && (s.state == InitSent || s.state == AuthSent || s.state == Established)
}

// Gone reports whether nothing more comes from it.
func (s *SA) Gone() bool { return s.state == Dead }

// Listed reports whether an operator is to see it.
func (s *SA) Listed() bool { return s.state != Closed }

// SamePeer reports whether both IKE SAs are with one peer.
func (s *SA) SamePeer(o *SA) bool {
	return s.conn != nil && s.conn == o.conn && s.peerID.Equal(o.peerID)
}

// Peer is the identity that the peer has proved.
func (s *SA) Peer() string { return s.peerID.Shown() }
