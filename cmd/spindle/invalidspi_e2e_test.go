package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/datapath/packet"
	"spindle/ike/wire"
	"spindle/tools/netlab"
)

// loss is a way to lose SAs without telling the peer.
type loss struct {
	name string
	lose func(b *bed, g *testbed.Gateway)
}

var losses = []loss{
	{"cleared", func(b *bed, g *testbed.Gateway) {
		b.says(g, "clear crypto sa --silent", "cleared 1 IKE SAs and 1 child SAs")
	}},
	{"killed", func(b *bed, g *testbed.Gateway) {
		check(b.t, g.Kill())
		check(b.t, g.Run(b.t.Context()))
		b.links()
	}},
}

// TestInvalidSPIRecovery is the procedure of V8, with the SAs cleared and with the
// whole gateway killed by SIGKILL and started again, in both roles: one gateway
// loses its SAs, the other knows nothing of it and sends on. With strongSwan there,
// ours is who loses.
func TestInvalidSPIRecovery(t *testing.T) {
	for _, l := range losses {
		for _, loser := range []string{"R8", "R6"} {
			t.Run(l.name+" "+loser, func(t *testing.T) {
				t.Parallel()
				parties := ours
				if loser == "R6" {
					parties = all
				}
				with(t, parties, func(t *testing.T, p party) { lostAndFound(t, p, l, loser) })
			})
		}
	}
}

func lostAndFound(t *testing.T, p party, l loss, loser string) {
	b := p.bed(t, fmt.Sprintf("v8-%s-%s", l.name[:1], strings.ToLower(loser)), func(r6, r8 *testbed.Tunnel) {
		g := map[string]*testbed.Tunnel{"R6": r6, "R8": r8}[loser]
		g.Lines = append(g.Lines, "invalid_spi_recovery: true")
	}, nil)
	first := b.up()
	g, sender, src, dst := b.r8, b.A, b.A4, b.B4
	if loser == "R6" {
		g, sender, src, dst = b.r6, b.B, b.B4, b.A4
	}
	l.lose(b, g)
	if list := children(t, g, "installed"); len(list) != 0 {
		t.Fatalf("V8: %s still holds %+v", loser, list)
	}
	if stale := b.stale(loser); stale != [2]string{first.SPIIn, first.SPIOut} {
		t.Errorf("V8: the peer was told: it holds %v", stale)
	}
	r, err := netlab.Ping(t.Context(), sender, src, dst, 80, 50*time.Millisecond, time.Second)
	check(t, err)
	b.onlyBefore(r)
	b.saysInvalid(g, loser, first)
	b.agree()
	if now := children(t, b.r6, "installed"); now[0].SPIIn == first.SPIIn || now[0].SPIOut == first.SPIOut {
		t.Errorf("V8: %+v is no new pair", now[0])
	}
	b.ping(b.A, b.A4, b.B4, 5)
	b.ping(b.B, b.B4, b.A4, 5)
}

// saysInvalid wants the line of V1 with both addresses, and the SPI that was lost.
func (b *bed) saysInvalid(g *testbed.Gateway, loser string, lost api.ChildSA) {
	b.t.Helper()
	dst, src, spi := b.R8Addr, b.R6Addr, number(b.t, lost.SPIOut)
	if loser == "R6" {
		dst, src, spi = b.R6Addr, b.R8Addr, number(b.t, lost.SPIIn)
	}
	line := fmt.Sprintf("%%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=%v, prot=50, spi=0x%08X(%d), srcaddr=%v", dst, spi, spi, src)
	if !strings.Contains(g.Log(), line) {
		b.t.Errorf("V1, V8: the log lacks %s", line)
	}
}

// TestQuickCrashDetection: V9: R8 is killed and started again, and neither end
// recovers lost SPIs. R6 asks after the interval, is shown the token of RFC 6290,
// and does not wait for four more queries.
func TestQuickCrashDetection(t *testing.T) {
	t.Parallel()
	b := newBed(t, "qcd", netlab.Options{}).spindles(nil)
	b.up()
	losses[1].lose(b, b.r8)
	sent := time.Now()
	check(t, b.r6.Await(t.Context(), 2*patience, "learn of the crash", func() bool {
		r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 1, 100*time.Millisecond, 100*time.Millisecond)
		return err == nil && r.Received == 1
	}))
	if outage := time.Since(sent); outage > 14*time.Second {
		t.Errorf("V9: the outage was %v, want the interval of 10 s and a negotiation", outage)
	}
	if log := b.r6.Log(); !strings.Contains(log, "peer has lost the IKE SA and proved it") || strings.Contains(log, "DPD incrementing") {
		t.Error("V9: R6 did not take the token, or waited for dead peer detection")
	}
	b.agree()
}

// stale is the pair that who did not lose anything still holds, as R6 names it.
func (b *bed) stale(loser string) (pair [2]string) {
	b.t.Helper()
	if loser == "R6" {
		if list := b.pairs(); len(list) == 1 {
			pair = list[0]
		}
		return pair
	}
	for _, c := range children(b.t, b.r6, "installed") {
		pair = [2]string{c.SPIIn, c.SPIOut}
	}
	return pair
}

// onlyBefore wants answers from some request on, and then to every one: only what
// was sent before the new SA may be lost (V8).
func (b *bed) onlyBefore(r netlab.PingResult) {
	b.t.Helper()
	lost := r.Sent - r.Received
	b.t.Logf("%d of %d pings lost, answers from the one numbered %d on", lost, r.Sent, r.First)
	if r.Received == 0 || lost != r.First {
		b.t.Errorf("V8: %d of %d were lost, the first answered is number %d: some were lost after the new SA stood", lost, r.Sent, r.First)
	}
}

// raw sends whole IP packets into a namespace's way out, whatever their source.
func raw(t *testing.T, ns *netlab.NS, dst netip.Addr, packets [][]byte) {
	t.Helper()
	check(t, ns.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for _, p := range packets {
			if err := unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: dst.As4()}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// TestForgedNotices: V7: an INVALID_SPI in the clear from the peer's own address,
// and Deletes that nobody signed, delete nothing, also when they name the IKE SA
// and the SPI that are in use.
func TestForgedNotices(t *testing.T) {
	with(t, all, func(t *testing.T, p party) {
		b := p.bed(t, "forged", nil, nil)
		child := b.up()
		rows, err := testbed.Table[api.IKESA](t.Context(), b.r6, api.IKESAs)
		check(t, err)
		if len(rows) != 1 {
			t.Fatalf("IKE SAs: %+v", rows)
		}
		from, to := netip.MustParseAddrPort(rows[0].Remote), netip.MustParseAddrPort(rows[0].Local)
		spi := uint32(number(t, child.SPIOut))
		known := wire.Header{InitiatorSPI: wire.SPI(number(t, rows[0].SPIi)), ResponderSPI: wire.SPI(number(t, rows[0].SPIr))}
		var packets [][]byte
		for _, h := range []wire.Header{{}, known} {
			for _, message := range p.forged(t, h, spi) {
				if from.Port() == 4500 { // RFC 3948 §2.2
					message = append(make([]byte, 4), message...)
				}
				ip := make([]byte, 1500)
				packets = append(packets, ip[:packet.PutUDP(ip, from, to, false, message, 1)])
			}
		}
		raw(t, b.R8, b.R6Addr, packets)
		b.awaitLog(b.r6, patience, map[int]string{1: "no ISAKMP SA with these cookies", 2: "INVALID_SPI outside of an IKE SA"}[p.version])
		b.ping(b.A, b.A4, b.B4, 20)
		if list := children(t, b.r6, "installed"); len(list) != 1 || list[0].SPIIn != child.SPIIn {
			t.Errorf("V7: the child SA is gone: %+v", list)
		}
		if now, err := testbed.Table[api.IKESA](t.Context(), b.r6, api.IKESAs); err != nil || len(now) != 1 || now[0].SPIi != rows[0].SPIi {
			t.Errorf("V7: the IKE SA is gone: %+v, %v", now, err)
		}
		b.agree()
	})
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
	check(t, err)
	return n
}

// forged are informational messages that nothing protects, about an SPI that R6
// sends to.
func (p party) forged(t *testing.T, h wire.Header, spi uint32) (messages [][]byte) {
	t.Helper()
	octets := binary.BigEndian.AppendUint32(nil, spi)
	var payloads []wire.Payload
	if p.version == 2 {
		h.Exchange, h.Flags, h.MessageID = wire.ExchangeInformational, wire.FlagInitiator, 0
		payloads = []wire.Payload{
			wire.Notify{Type: wire.NotifyInvalidSPI, Data: octets},
			wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{spi}},
			wire.Delete{Protocol: wire.ProtocolIKE},
		}
	} else {
		h.Exchange, h.MessageID = wire.V1ExchangeInformational, 4711
		cookies := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(h.InitiatorSPI)), uint64(h.ResponderSPI))
		payloads = []wire.Payload{
			wire.V1Notify{DOI: wire.DOIIPsec, Protocol: wire.ProtocolESP, SPI: octets, Type: wire.V1NotifyInvalidSPI},
			wire.V1Delete{DOI: wire.DOIIPsec, Protocol: wire.ProtocolESP, SPISize: 4, SPIs: [][]byte{octets}},
			wire.V1Delete{DOI: wire.DOIIPsec, Protocol: wire.ProtocolIKE, SPISize: 16, SPIs: [][]byte{cookies}},
		}
	}
	for _, payload := range payloads {
		write := wire.AppendMessage
		if p.version == 1 {
			write = wire.AppendV1Message
		}
		message, err := write(nil, h, []wire.Payload{payload})
		check(t, err)
		messages = append(messages, message)
	}
	return messages
}
