package v1

import (
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
	"spindle/sadb"
)

const natPort = 4500 // RFC 3947 §4

func digestOf(d session.Datagram) [sha256.Size]byte { return sha256.Sum256(d.Data) }

func spi8(spi wire.SPI) []byte { return binary.BigEndian.AppendUint64(nil, uint64(spi)) }

// knowsNAT reports whether the peer announced NAT traversal, and by a draft.
func (s *SA) knowsNAT() (knows, draft bool) {
	draft = s.vendors[wire.V1VendorNATTDraft03] || s.vendors[wire.V1VendorNATTDraft02] || s.vendors[wire.V1VendorNATTDraft02LF]
	return s.vendors[wire.V1VendorNATT] || draft, !s.vendors[wire.V1VendorNATT] && draft
}

// discover makes the NAT-D payloads: where the message goes, then where it
// comes from (RFC 3947 §3.2).
func (s *SA) discover(local, remote netip.AddrPort) ([]wire.Payload, error) {
	knows, draft := s.knowsNAT()
	if !knows {
		return nil, nil
	}
	var payloads []wire.Payload
	for i, at := range []netip.AddrPort{remote, local} {
		hash, err := suite.V1NATHash(s.suite.Proposal.PRF, s.spiI, s.spiR, at)
		if err != nil {
			return nil, err
		}
		if i == 1 && s.fakesNAT() {
			hash[0] ^= 0xff // our end is to look translated
		}
		payloads = append(payloads, wire.V1NATD{Draft: draft, Hash: hash})
	}
	return payloads, nil
}

// fakesNAT tells whether we are to seem behind a NAT, so that ESP goes in UDP.
func (s *SA) fakesNAT() bool {
	return slices.ContainsFunc(s.possible(), func(c *session.Connection) bool { return c.ForceEncap })
}

// detectNAT compares the hashes of the peer with what we see. The first is of
// our end, the others are of the peer's.
func (s *SA) detectNAT(d session.Datagram, m wire.V1Message) {
	_, s.draftNAT = s.knowsNAT()
	var hashes [][]byte
	for _, p := range m.Payloads {
		if n, ok := p.(wire.V1NATD); ok {
			hashes = append(hashes, n.Hash)
		}
	}
	if len(hashes) < 2 {
		return
	}
	ours, errOurs := suite.V1NATHash(s.suite.Proposal.PRF, s.spiI, s.spiR, d.Local)
	theirs, errTheirs := suite.V1NATHash(s.suite.Proposal.PRF, s.spiI, s.spiR, d.Remote)
	if errOurs != nil || errTheirs != nil {
		return
	}
	// In aggressive mode's last message the ports have floated already, so that
	// what the first two found stays.
	s.natLocal = s.natLocal || !slices.Equal(hashes[0], ours)
	s.natRemote = s.natRemote || !slices.ContainsFunc(hashes[1:], func(h []byte) bool { return slices.Equal(h, theirs) })
	s.natFaked = s.fakesNAT()
}

// float moves to port 4500: RFC 3947 §4, "the initiator MUST ... change to port
// 4500" as soon as a NAT is detected.
func (s *SA) float() {
	if s.encap() {
		s.local = netip.AddrPortFrom(s.local.Addr(), natPort)
		if s.remote.Port() == 500 {
			s.remote = netip.AddrPortFrom(s.remote.Addr(), natPort)
		}
	}
}

// encap reports whether ESP goes through UDP.
func (s *SA) encap() bool { return s.natLocal || s.natRemote || s.natFaked }

// follow keeps to where the peer speaks from: while phase 1 lasts in any case,
// since its initiator changes the port; then only behind a NAT that is the peer's.
func (s *SA) follow(d session.Datagram) {
	if s.local == d.Local && s.remote == d.Remote {
		return
	}
	if s.phase1 != nil {
		if !s.initiator {
			s.local, s.remote = d.Local, d.Remote
		}
		return
	}
	if !s.natRemote || s.natLocal {
		return
	}
	s.local, s.remote = d.Local, d.Remote
	s.audit(slog.LevelInfo, "peer moved behind its NAT")
	for _, c := range s.children {
		c.Move(s.env.Out, s.local, s.remote, c.Encap)
	}
}

// Moved follows the peer by its ESP, as by its IKE messages: it may be long silent
// there, and a NAT gives both the same mapping (RFC 3947 §6).
func (s *SA) Moved(remote netip.AddrPort) {
	if s.phase1 == nil && s.state == Established {
		s.follow(session.Datagram{Local: s.local, Remote: remote})
	}
}

// silent plans the next keepalive, if it is us who are behind a NAT (T3).
func (s *SA) silent(now time.Time) {
	s.keepaliveAt = time.Time{}
	if s.natLocal && s.state == Established && s.conn.NATKeepalive > 0 {
		s.keepaliveAt = now.Add(s.conn.NATKeepalive)
	}
}

// keepalive keeps the NAT's mapping (RFC 3948 §4). The data path knows whether a
// child SA did that already.
func (s *SA) keepalive(now time.Time) {
	var pairs []sadb.SPI
	for _, c := range s.children {
		if c.Sends() {
			pairs = append(pairs, c.In)
		}
	}
	s.env.Out.Put(session.Keepalive{Local: s.local, Remote: s.remote, Pairs: pairs, Quiet: s.conn.NATKeepalive})
	s.silent(now)
}
