package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/testbed"
	"spindle/datapath/packet"
	"spindle/ike/wire"
	"spindle/tools/netlab"
)

// block drops on the wire what an nftables match names; the match is one of the
// bridge family's.
func (b *bed) block(match string) {
	b.t.Helper()
	rules := fmt.Sprintf("add table bridge spindle; add chain bridge spindle pass { type filter hook forward priority 0 ; }; "+
		"add rule bridge spindle pass %s drop", match)
	if out, err := b.Wire.Run(b.t.Context(), "nft", rules); err != nil {
		b.t.Fatalf("nft %s: %v\n%s", rules, err, out)
	}
}

func (b *bed) unblock() {
	b.t.Helper()
	if out, err := b.Wire.Run(b.t.Context(), "nft", "delete table bridge spindle"); err != nil {
		b.t.Fatalf("nft delete: %v\n%s", err, out)
	}
}

// exchanges notes when IKE is on the wire, until stop is closed: messages within
// half a second of each other are one exchange.
func (b *bed) exchanges(stop <-chan struct{}) <-chan []time.Duration {
	done := make(chan []time.Duration, 1)
	began := time.Now()
	go func() {
		var at []time.Duration
		var last uint64
		for {
			counts, err := b.wire.Read()
			now := time.Since(began)
			if err == nil && counts.IKE.Frames > last {
				if last = counts.IKE.Frames; len(at) == 0 || now-at[len(at)-1] > 500*time.Millisecond {
					at = append(at, now)
				}
			}
			select {
			case <-stop:
				done <- at
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return done
}

// awaitLog waits for a line in a gateway's log.
func (b *bed) awaitLog(g *testbed.Gateway, limit time.Duration, line string) {
	b.t.Helper()
	check(b.t, g.Await(b.t.Context(), limit, "log "+line, func() bool { return strings.Contains(g.Log(), line) }))
}

const tunnelDown = "%CRYPTO-5-SESSION_STATUS: Crypto tunnel is DOWN. Peer 192.0.2.8:500 Id: 192.0.2.8"

// TestPeriodicDPD: D1, D2, D4: answered by a peer whose own DPD is off. D5, D6, D8:
// with the answers blocked and ESP flowing the queries go out at 0, 2, 4, 6 and
// 8 s, the peer is dead at 10 s, and frees its side on the Deletes.
func TestPeriodicDPD(t *testing.T) {
	t.Parallel()
	b := newBed(t, "dpdp", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r6.Lines = []string{"dpd: {mode: periodic, interval: 10s, retry: 2s, tries: 5}"}
		r8.Lines = []string{"dpd: {mode: off}"}
	})
	b.up()
	time.Sleep(11 * time.Second) // one query, answered
	if strings.Contains(b.r6.Log(), "DPD incrementing") {
		t.Error("D1: a query was not answered")
	}
	b.block("ip saddr 192.0.2.8 udp sport {500, 4500}")
	flowing := make(chan struct{})
	go func() {
		defer close(flowing)
		for !strings.Contains(b.r6.Log(), tunnelDown) && t.Context().Err() == nil {
			netlab.Ping(t.Context(), b.A, b.A4, b.B4, 2, 200*time.Millisecond, time.Second)
		}
	}()
	counts, err := b.wire.Read()
	check(t, err)
	before := counts.IKE.Frames
	check(t, b.r6.Await(t.Context(), patience, "ask", func() bool {
		counts, err := b.wire.Read()
		return err == nil && counts.IKE.Frames > before
	}))
	stop := make(chan struct{})
	times := b.exchanges(stop)
	b.awaitLog(b.r6, patience, tunnelDown)
	<-flowing
	time.Sleep(50 * time.Millisecond)
	close(stop)
	at := <-times
	for i, want := range []time.Duration{0, 2, 4, 6, 8, 10} {
		want *= time.Second
		if i >= len(at) || (at[i]-at[0]-want).Abs() > 100*time.Millisecond {
			t.Fatalf("D5: exchanges at %v, want one every 2 s from 0 to 8 and the Deletes at 10 s", at)
		}
	}
	for i := range 5 {
		if line := fmt.Sprintf("DPD incrementing error counter (%d/5)", i+1); !strings.Contains(b.r6.Log(), line) {
			t.Errorf("D5: no %q in the log", line)
		}
	}
	b.awaitLog(b.r8, patience, "IKE SA deleted by peer") // D8
}

// TestOnDemandDPD: D3: an idle peer is never asked; one that is sent to and
// silent is, after the interval, and is dead 10 s later.
func TestOnDemandDPD(t *testing.T) {
	t.Parallel()
	b := newBed(t, "dpdo", netlab.Options{}).spindles(nil)
	b.up()
	quiet, err := b.wire.Read()
	check(t, err)
	time.Sleep(12 * time.Second)
	now, err := b.wire.Read()
	check(t, err)
	if now.IKE != quiet.IKE {
		t.Errorf("D3: an idle peer was asked: %v, then %v", quiet.IKE, now.IKE)
	}
	check(t, b.r8.Kill())
	killed := time.Now()
	go netlab.Ping(t.Context(), b.A, b.A4, b.B4, 150, 200*time.Millisecond, time.Second)
	b.awaitLog(b.r6, 2*patience, tunnelDown)
	if took := time.Since(killed); took < 10*time.Second || took > 14*time.Second {
		t.Errorf("D5: dead after %v; the last proof of life was 12 s before the first unanswered packet, so want about 10 s", took)
	}
}

// TestTheDocumentedTrap: V1, V3: R8 finds R6 dead because IKE is blocked, R6 does
// not notice and sends on: a black hole, said in R8's log, nothing else. V4: with
// recovery the same heals as soon as IKE passes.
func TestTheDocumentedTrap(t *testing.T) {
	for name, recovery := range map[string]bool{"off": false, "on": true} {
		t.Run("recovery "+name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, "trap"+name, netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
				r6.Lines = []string{"dpd: {mode: off}"}
				r8.Lines = []string{"dpd: {mode: periodic, interval: 10s, retry: 2s, tries: 2}",
					fmt.Sprintf("invalid_spi_recovery: %v", recovery)}
			})
			old := b.up()
			b.block("udp dport {500, 4500}")
			b.awaitLog(b.r8, 2*patience, "Crypto tunnel is DOWN. Peer 192.0.2.6:500")
			netlab.Ping(t.Context(), b.A, b.A4, b.B4, 3, 100*time.Millisecond, 200*time.Millisecond)
			b.awaitLog(b.r8, patience, "%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=192.0.2.8, prot=50, spi=0x")
			b.unblock()
			if recovery {
				check(t, b.r8.Await(t.Context(), 2*patience, "recover", func() bool {
					r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 1, time.Second, time.Second)
					return err == nil && r.Received == 1
				}))
				return
			}
			b.awaitLog(b.r8, patience, "invalid SPI notice not sent: no IKE SA")
			r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 10, 200*time.Millisecond, time.Second)
			check(t, err)
			if r.Received != 0 || len(children(t, b.r8, "installed")) != 0 {
				t.Errorf("V3: %d packets passed, %v at R8: without recovery nothing is sent", r.Received, children(t, b.r8, "installed"))
			}
			if left := children(t, b.r6, "installed"); len(left) != 1 || left[0].SPIOut != old.SPIOut {
				t.Errorf("R6 is not stale any more: %v", left)
			}
		})
	}
}

// TestRebootedPeer: V8 after kill -9 of one whole gateway, whichever it is: the
// other sends on, the rebooted one finds an SPI that it does not hold, negotiates,
// and traffic flows. The outage is one notice and one negotiation.
func TestRebootedPeer(t *testing.T) {
	for _, name := range []string{"R8", "R6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, "boot"+strings.ToLower(name), netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
				for _, g := range []*testbed.Tunnel{r6, r8} {
					g.Lines = []string{"invalid_spi_recovery: true"}
				}
			})
			b.up()
			rebooted, sender, src, dst := b.r8, b.A, b.A4, b.B4
			if name == "R6" {
				rebooted, sender, src, dst = b.r6, b.B, b.B4, b.A4
			}
			check(t, rebooted.Kill())
			check(t, rebooted.Run(t.Context()))
			b.links()
			began := time.Now()
			check(t, rebooted.Await(t.Context(), patience, "recover", func() bool {
				r, err := netlab.Ping(t.Context(), sender, src, dst, 1, 100*time.Millisecond, 100*time.Millisecond)
				return err == nil && r.Received == 1
			}))
			t.Logf("recovered after %v", time.Since(began))
			if !strings.Contains(rebooted.Log(), "%CRYPTO-4-RECVD_PKT_INV_SPI") {
				t.Error("V8: the invalid SPI is not in the log")
			}
			check(t, rebooted.Await(t.Context(), patience, "agree with its peer", func() bool {
				six, eight := children(t, b.r6, "installed"), children(t, b.r8, "installed")
				return len(six) == 1 && len(eight) == 1 && six[0].SPIIn == eight[0].SPIOut && six[0].SPIOut == eight[0].SPIIn
			}))
			b.ping(b.A, b.A4, b.B4, 5)
			b.ping(b.B, b.B4, b.A4, 5)
		})
	}
}

// TestPeerList: P1, P2: R8 answers at three addresses, which are cut off one after
// the other under traffic; the next one takes over. When the first is back, the
// tunnel returns to it after the hold time.
func TestPeerList(t *testing.T) {
	t.Parallel()
	b := newBed(t, "peers", netlab.Options{})
	for _, addr := range []string{"192.0.2.18/24", "192.0.2.28/24"} {
		if out, err := b.R8.Run(t.Context(), "ip", "addr", "add", addr, "dev", "out0"); err != nil {
			t.Fatal(err, out)
		}
	}
	b.spindles(func(r6, r8 *testbed.Tunnel) {
		r6.RemoteHosts = []string{"192.0.2.8", "192.0.2.18", "192.0.2.28"}
		r6.Lines = []string{"dpd: {interval: 10s, retry: 2s, tries: 1}", "preferred: {fail_back: 8s}"}
		r8.AnyLocal = true
	})
	b.up()
	for _, cut := range []struct{ match, next string }{
		{"ip saddr 192.0.2.8", "192.0.2.18"},
		{"ip saddr {192.0.2.8, 192.0.2.18}", "192.0.2.28"},
	} {
		if cut.next != "192.0.2.18" {
			b.unblock()
		}
		b.block(cut.match)
		began := time.Now()
		check(t, b.r6.Await(t.Context(), 3*patience, "go to "+cut.next, func() bool {
			r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 1, 100*time.Millisecond, 100*time.Millisecond)
			return err == nil && r.Received == 1
		}))
		t.Logf("to %s after %v", cut.next, time.Since(began))
		if list := children(t, b.r6, "installed"); len(list) != 1 || !strings.HasPrefix(list[0].Remote, cut.next+":") {
			t.Fatalf("P1: %+v, want the child SA at %s", list, cut.next)
		}
	}
	b.unblock()
	check(t, b.r6.Await(t.Context(), 4*patience, "return to the preferred peer", func() bool {
		list := children(t, b.r6, "installed")
		return len(list) == 1 && strings.HasPrefix(list[0].Remote, "192.0.2.8:")
	}))
	b.ping(b.A, b.A4, b.B4, 5)
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
// and a Delete that nobody signed, delete nothing.
func TestForgedNotices(t *testing.T) {
	t.Parallel()
	b := newBed(t, "forged", netlab.Options{}).spindles(nil)
	child := b.up()
	var spi uint32
	if _, err := fmt.Sscanf(child.SPIOut, "0x%x", &spi); err != nil {
		t.Fatal(err)
	}
	from, to := netip.AddrPortFrom(b.R8Addr, 500), netip.AddrPortFrom(b.R6Addr, 500)
	var packets [][]byte
	for _, payload := range []wire.Payload{
		wire.Notify{Type: wire.NotifyInvalidSPI, Data: binary.BigEndian.AppendUint32(nil, spi)},
		wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{spi}},
		wire.Delete{Protocol: wire.ProtocolIKE},
	} {
		message, err := wire.AppendMessage(nil, wire.Header{Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator}, []wire.Payload{payload})
		check(t, err)
		ip := make([]byte, 1500)
		packets = append(packets, ip[:packet.PutUDP(ip, from, to, false, message, 1)])
	}
	raw(t, b.R8, b.R6Addr, packets)
	b.awaitLog(b.r6, patience, "INVALID_SPI outside of an IKE SA")
	b.ping(b.A, b.A4, b.B4, 20)
	if list := children(t, b.r6, "installed"); len(list) != 1 || list[0].SPIIn != child.SPIIn {
		t.Errorf("V7: the child SA is gone: %+v", list)
	}
}

// TestSpoofedFlood: V6: random SPIs from spoofed sources beside a tunnel at work
// cost it no packet, start no negotiation beyond the budget, and are counted.
func TestSpoofedFlood(t *testing.T) {
	b := newBed(t, "flood", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r6.Lines = []string{"invalid_spi_recovery: true"}
	})
	b.up()
	before, err := b.wire.Read()
	check(t, err)
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 3 * time.Second, Window: 16, Rate: 4000}, b.ways(4))
		traffic <- err
	}()
	for round := range 20 {
		var packets [][]byte
		for i := range 1000 {
			n := uint32(round*1000 + i)
			packets = append(packets, bogusESP(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), b.R6Addr, 0x10000000+n*2654435761))
		}
		raw(t, b.R8, b.R6Addr, packets)
		time.Sleep(100 * time.Millisecond)
	}
	check(t, <-traffic)
	arrived(t, results)
	after, err := b.wire.Read()
	check(t, err)
	if grew := after.IKE.Frames - before.IKE.Frames; grew > 4 {
		t.Errorf("V6: the flood of unknown sources made %d IKE messages", grew)
	}
	drops, err := b.r6.Drops(t.Context())
	check(t, err)
	var unknown uint64
	for where, n := range drops {
		if strings.Contains(where, "unknown_spi") {
			unknown += n
		}
	}
	if unknown < 15000 {
		t.Errorf("V1: only %d of 20000 packets were counted as unknown SPIs: %v", unknown, drops)
	}
}

func bogusESP(src, dst netip.Addr, spi uint32) []byte {
	b := make([]byte, packet.IPv4Len+64)
	b[0], b[8], b[9] = 0x45, 64, packet.ESP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint32(b[packet.IPv4Len:], spi)
	packet.SetIPv4Checksum(b)
	return b
}

// TestIdleTime: T1: a pair that carries nothing is deleted at both ends, and the
// next packet brings it back.
func TestIdleTime(t *testing.T) {
	t.Parallel()
	b := newBed(t, "idle", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r6.ChildLines = []string{"idle: 3s"}
		r6.Lines = []string{"idle_ike: true"}
	})
	b.up()
	gone := func() bool { return len(children(t, b.r6, "installed"))+len(children(t, b.r8, "installed")) == 0 }
	check(t, b.r6.Await(t.Context(), patience, "end the idle pair", gone))
	if c := connection(t, b.r6, "r8"); c.State != "down" {
		t.Errorf("T1: connection %+v, want the IKE SA gone as well", c)
	}
	b.ping(b.A, b.A4, b.B4, 3)
}
