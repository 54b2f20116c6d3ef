package ike

import (
	"fmt"
	"log/slog"
	"time"

	"spindle/ike/session"
	"spindle/ike/v2"
)

// unknownSPI is ESP that arrived for no SA of ours: the peer has one that we
// lost. It is logged in the shape that operators grep for (V1), and the peer
// is told over an IKE SA, if there is one (V2). Without one nothing is sent:
// that is the black hole (V3).
func (e *Engine) unknownSPI(now time.Time, in session.UnknownSPI) {
	if e.byPair[in.SPI] != nil {
		return // it came to be, or is on its way out
	}
	loud := e.spis.mayLog(now, in.Remote.Addr()) && e.logs.take(now)
	if loud {
		e.out.Audit(slog.LevelWarn, fmt.Sprintf("%%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=%s, prot=50, spi=0x%08X(%d), srcaddr=%s",
			in.Local.Addr(), uint32(in.SPI), uint32(in.SPI), in.Remote.Addr()),
			slog.String("peer", in.Remote.Addr().String()), slog.String("spi", in.SPI.String()), slog.Uint64("packets", in.Packets))
	}
	for _, m := range e.byPeer[in.Remote.Addr()] {
		if m.State() != v2.Established {
			continue
		}
		// Whoever spoofs the peer's address must not fill the window with these.
		if m.notices.take(now) {
			m.InvalidSPI(now, in.SPI)
			e.sync(now, m)
		}
		return
	}
	if loud {
		e.out.Audit(slog.LevelWarn, "invalid SPI notice not sent: no IKE SA",
			slog.String("peer", in.Remote.Addr().String()), slog.String("spi", in.SPI.String()))
	}
}
