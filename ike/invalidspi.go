package ike

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// Bounds of recovery (V6). A negotiation that somebody provokes with a forged
// source address costs us one key exchange, and the peer another.
const (
	recoveryHold  = 10 * time.Second // between two attempts with one peer
	recoveryRate  = 5                // attempts with all peers, per second
	recoveryBurst = 50
	lostLimit     = 8 // SPIs remembered for a peer that is being negotiated with
)

// unknownSPI is ESP that arrived for no SA of ours: the peer has one that we
// lost. It is logged in the shape that operators grep for (V1), and the peer
// is told over an IKE SA, if there is one (V2). Without one a statically
// configured peer is negotiated with first, if the connection says so (V4);
// otherwise nothing is sent: that is the black hole (V3).
func (e *Engine) unknownSPI(now time.Time, in session.UnknownSPI) {
	if e.byPair[in.SPI] != nil || e.reserved.awaits(in.SPI) {
		return // it came to be, or is about to, or is on its way out
	}
	from := in.Remote.Addr()
	loud := e.spis.mayLog(now, from) && e.logs.take(now)
	if loud {
		e.out.Audit(slog.LevelWarn, fmt.Sprintf("%%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=%s, prot=50, spi=0x%08X(%d), srcaddr=%s",
			in.Local.Addr(), uint32(in.SPI), uint32(in.SPI), from),
			slog.String("peer", from.String()), slog.String("spi", in.SPI.String()), slog.Uint64("packets", in.Packets))
	}
	if e.tell(now, from, in.SPI) {
		return
	}
	if reason := e.recover(now, from, in.SPI); reason != "" && loud {
		e.out.Audit(slog.LevelWarn, "invalid SPI notice not sent: no IKE SA",
			slog.String("peer", from.String()), slog.String("spi", in.SPI.String()), slog.String("recovery", reason))
	}
}

// tell says over an IKE SA with that peer that we hold no such SPI.
func (e *Engine) tell(now time.Time, peer netip.Addr, spi sadb.SPI) bool {
	for _, m := range e.byPeer[peer] {
		if !m.Established() {
			continue
		}
		// Whoever spoofs the peer's address must not fill the window with these.
		if m.notices.take(now) {
			m.InvalidSPI(now, spi)
			e.sync(now, m)
		}
		return true
	}
	return false
}

// recover negotiates with a peer that sends to an SPI we lost, so that it can be
// told (V4). It returns why not, or nothing if it did or does already.
func (e *Engine) recover(now time.Time, peer netip.Addr, spi sadb.SPI) string {
	c, reason := e.recoverable(peer)
	if c == nil {
		return reason
	}
	if len(c.lostSPIs) < lostLimit && !slices.Contains(c.lostSPIs, spi) {
		c.lostSPIs = append(c.lostSPIs, spi)
	}
	local, reason := c.localEnd(peer, e.addresses)
	switch {
	case c.usable() != nil:
		return "" // under way: one attempt at a time
	case reason != "":
		return reason
	case now.Before(c.recoverAfter):
		return "held down after the last attempt"
	case !e.recoveries.take(now):
		return "the budget for all peers is spent"
	}
	c.recoverAfter = now.Add(recoveryHold)
	e.out.Audit(slog.LevelInfo, "invalid SPI recovery", slog.String("conn", c.conf.Name),
		slog.String("peer", peer.String()), slog.String("spi", spi.String()))
	e.begin(now, c, local, netip.AddrPortFrom(peer, ikePort), &c.conf.Children[0], sadb.Flow{})
	return ""
}

// recoverable finds the connection by which a peer can be recovered (V5): only
// one whose address the configuration names, and that asks for it.
func (e *Engine) recoverable(peer netip.Addr) (*connection, string) {
	static := e.byAddress[peer]
	for _, c := range static {
		if c.conf.InvalidSPIRecovery && len(c.conf.Children) > 0 {
			return c, ""
		}
	}
	if len(static) == 0 {
		return nil, "no connection names this peer's address"
	}
	return nil, "invalid_spi_recovery is off for connection " + static[0].conf.Name
}

// tellLost names the lost SPIs over the IKE SA that was made for that.
func (e *Engine) tellLost(now time.Time, m *machine) {
	for _, spi := range m.conn.lostSPIs {
		m.InvalidSPI(now, spi)
	}
	m.conn.lostSPIs = nil
}

// hearsay is an INVALID_SPI outside of any IKE SA: RFC 7296 §1.5, anybody can
// send one, so it "MUST NOT" change any state. If we do send to that SPI, the
// peer is asked whether it lives, at most as often as it is told of lost SPIs (V7).
func (e *Engine) hearsay(now time.Time, d session.Datagram, h wire.Header) bool {
	if h.Exchange != wire.ExchangeInformational {
		return false
	}
	msg, err := wire.ParseMessage(d.Data)
	if err != nil {
		return false
	}
	n, ok := wire.FindNotify(msg.Payloads, wire.NotifyInvalidSPI)
	if !ok || len(n.Data) != 4 {
		return false
	}
	for _, m := range e.byPeer[d.Remote.Addr()] {
		if m.Sends(binary.BigEndian.Uint32(n.Data)) && m.notices.take(now) {
			m.Doubt(now)
			e.sync(now, m)
		}
	}
	e.stray(now, d, "INVALID_SPI outside of an IKE SA: at most a reason to ask the peer")
	return true
}
