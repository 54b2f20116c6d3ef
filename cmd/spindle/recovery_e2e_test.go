package main_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// party is with whom a proof of recovery is made: the version of IKE that is
// spoken, and whether strongSwan stands at R8 or one of ours.
type party struct {
	version int
	swan    bool
}

func (p party) String() string {
	return fmt.Sprintf("IKEv%d with %s", p.version, map[bool]string{true: "strongSwan", false: "spindle"}[p.swan])
}

// label is short and fit for the name of a lab.
func (p party) label(name string) string {
	return fmt.Sprintf("%s-%d%s", name, p.version, map[bool]string{true: "s"}[p.swan])
}

var (
	ours   = []party{{2, false}, {1, false}}
	theirs = []party{{2, true}, {1, true}}
	all    = append(append([]party(nil), ours...), theirs...)
)

// with repeats a proof with every party at once: what they do most is wait.
func with(t *testing.T, parties []party, prove func(t *testing.T, p party)) {
	for _, p := range parties {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			prove(t, p)
		})
	}
}

// bed makes a lab of these two and starts them. Change may alter what ours are
// configured to do, swan what strongSwan is.
func (p party) bed(t *testing.T, name string, change func(r6, r8 *testbed.Tunnel), swan func(r8 *netlab.StrongSwanConfig)) *bed {
	t.Helper()
	return p.start(newBed(t, p.label(name), netlab.Options{}), change, swan)
}

func (p party) start(b *bed, change func(r6, r8 *testbed.Tunnel), swan func(r8 *netlab.StrongSwanConfig)) *bed {
	b.t.Helper()
	both := func(r6, r8 *testbed.Tunnel) {
		p.speak(r6)
		p.speak(r8)
		if change != nil {
			change(r6, r8)
		}
	}
	if !p.swan {
		return b.spindles(both)
	}
	return b.strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		both(r6, &testbed.Tunnel{})
		if p.version == 1 {
			r8.Version, r8.IKE = 1, r6.IKE
		}
		if swan != nil {
			swan(r8)
		}
	})
}

// speak sets the version of IKE. IKEv1 knows no AEAD for itself, and one pair of
// selectors for a child SA.
func (p party) speak(g *testbed.Tunnel) {
	g.Version = p.version
	if p.version == 1 && len(g.LocalTS) > 0 {
		g.IKE = "aes128-sha256-ecp256"
		g.LocalTS, g.RemoteTS = g.LocalTS[:1], g.RemoteTS[:1]
	}
}

// kill ends R8 without a word.
func (b *bed) kill() {
	b.t.Helper()
	if b.swan != nil {
		check(b.t, syscall.Kill(b.swan.PID(), syscall.SIGKILL))
		return
	}
	check(b.t, b.r8.Kill())
}

// block drops on the wire what any of these nftables matches names; they are those
// of the bridge family.
func (b *bed) block(matches ...string) {
	b.t.Helper()
	rules := "add table bridge spindle; add chain bridge spindle pass { type filter hook forward priority 0 ; }; "
	for _, m := range matches {
		rules += "add rule bridge spindle pass " + m + " drop; "
	}
	if out, err := b.Wire.Run(b.t.Context(), "nft", rules); err != nil {
		b.t.Fatalf("nft %s: %v\n%s", rules, err, out)
	}
}

// ikeFrom matches IKE of one address, and not ESP in UDP: that has no marker of
// four zero octets (RFC 3948 §2.2).
func ikeFrom(addr fmt.Stringer) []string {
	return []string{
		fmt.Sprintf("ip saddr %v udp sport 500", addr),
		fmt.Sprintf("ip saddr %v udp sport 4500 @th,64,32 0", addr),
	}
}

func (b *bed) unblock() {
	b.t.Helper()
	if out, err := b.Wire.Run(b.t.Context(), "nft", "delete table bridge spindle"); err != nil {
		b.t.Fatalf("nft delete: %v\n%s", err, out)
	}
}

// awaitLog waits for a line in a gateway's log.
func (b *bed) awaitLog(g *testbed.Gateway, limit time.Duration, line string) {
	b.t.Helper()
	check(b.t, g.Await(b.t.Context(), limit, "log "+line, func() bool { return strings.Contains(g.Log(), line) }))
}

// freed waits until R8 holds nothing any more.
func (b *bed) freed() {
	b.t.Helper()
	check(b.t, b.r6.Await(b.t.Context(), patience, "see R8 let go", func() bool {
		if b.swan != nil {
			sas, err := b.swan.ListSAs(b.t.Context())
			return err == nil && len(sas) == 0
		}
		return len(children(b.t, b.r8, "installed")) == 0 && connection(b.t, b.r8, "r6").State == "down"
	}))
}

// agree waits until both SADBs hold one and the same pair, and nothing else that
// carries traffic (V8).
func (b *bed) agree() {
	b.t.Helper()
	var six, eight [][2]string
	err := b.r6.Await(b.t.Context(), 2*patience, "agree with its peer", func() bool {
		six, eight = nil, nil
		for _, c := range children(b.t, b.r6, "installed") {
			six = append(six, [2]string{c.SPIIn, c.SPIOut})
		}
		eight = b.pairs()
		return len(six) == 1 && len(eight) == 1 && six[0] == eight[0]
	})
	if err != nil {
		b.t.Fatalf("R6 holds %v, R8 %v: %v", six, eight, err)
	}
}

// pairs are R8's SPIs as R6 would name them: in, then out.
func (b *bed) pairs() (list [][2]string) {
	b.t.Helper()
	if b.swan == nil {
		for _, c := range children(b.t, b.r8, "installed") {
			list = append(list, [2]string{c.SPIOut, c.SPIIn})
		}
		return list
	}
	sas, err := b.swan.ListSAs(b.t.Context())
	check(b.t, err)
	for _, sa := range sas {
		for _, c := range sa.Children {
			if c.State == "INSTALLED" {
				list = append(list, [2]string{fmt.Sprintf("0x%08x", c.SPIOut), fmt.Sprintf("0x%08x", c.SPIIn)})
			}
		}
	}
	return list
}

// TestTheDocumentedTrap: V1, V3: one end finds the other dead because IKE is
// blocked, and the other does not notice and sends on: a black hole, said in the
// log, nothing else. V4: with recovery the same heals as soon as IKE passes. The end
// that notices is R8, or R6 when strongSwan is there.
func TestTheDocumentedTrap(t *testing.T) {
	for name, recovery := range map[string]bool{"off": false, "on": true} {
		t.Run("recovery "+name, func(t *testing.T) {
			t.Parallel()
			with(t, all, func(t *testing.T, p party) { trap(t, p, name, recovery) })
		})
	}
}

func trap(t *testing.T, p party, name string, recovery bool) {
	b := p.bed(t, "trap"+name, func(r6, r8 *testbed.Tunnel) {
		notices, stale := r8, r6
		if p.swan {
			notices, stale = r6, r8
		}
		stale.Lines = []string{"dpd: {mode: off}"}
		notices.Lines = []string{"dpd: {mode: periodic, interval: 10s, retry: 2s, tries: 2}",
			fmt.Sprintf("invalid_spi_recovery: %v", recovery)}
	}, nil)
	first := b.up()
	old := [2]string{first.SPIIn, first.SPIOut}
	notices, loser, end := b.r8, "R8", stream{b.A, b.B, b.A4, b.B4}
	here, there := b.R8Addr, b.R6Addr
	if p.swan {
		notices, loser, end = b.r6, "R6", stream{b.B, b.A, b.B4, b.A4}
		here, there = there, here
	}
	send := func(count int) netlab.PingResult {
		r, err := netlab.Ping(t.Context(), end.from, end.src, end.dst, count, 200*time.Millisecond, time.Second)
		check(t, err)
		return r
	}
	b.block(append(ikeFrom(b.R6Addr), ikeFrom(b.R8Addr)...)...)
	b.awaitLog(notices, 2*patience, fmt.Sprintf("Crypto tunnel is DOWN. Peer %v:", there))
	send(3)
	b.awaitLog(notices, patience, fmt.Sprintf("%%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr=%v, prot=50, spi=0x", here))
	b.unblock()
	if recovery {
		check(t, notices.Await(t.Context(), 2*patience, "recover", func() bool { return send(1).Received == 1 }))
		b.agree()
		return
	}
	b.awaitLog(notices, patience, "invalid SPI notice not sent: no IKE SA")
	if r := send(10); r.Received != 0 || len(children(t, notices, "installed")) != 0 {
		t.Errorf("V3: %d packets passed, %v where the SAs were lost: without recovery nothing is sent", r.Received, children(t, notices, "installed"))
	}
	if left := b.stale(loser); left != old {
		t.Errorf("the other end is not stale any more: it holds %v", left)
	}
}

// TestIdleTime: T1: a pair that carries nothing for the time that the gateway, or
// its child, names is deleted at both ends, and the next packet brings it back.
func TestIdleTime(t *testing.T) {
	for where, set := range map[string]func(r6 *testbed.Tunnel){
		"gateway": func(r6 *testbed.Tunnel) { r6.Gateway = []string{"idle: 3s"} },
		"child":   func(r6 *testbed.Tunnel) { r6.ChildLines = []string{"idle: 3s"} },
	} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			with(t, ours, func(t *testing.T, p party) { idle(t, p, where, set) })
		})
	}
}

func idle(t *testing.T, p party, where string, set func(r6 *testbed.Tunnel)) {
	b := p.bed(t, "idle"+where[:1], func(r6, _ *testbed.Tunnel) {
		set(r6)
		r6.Lines = []string{"idle_ike: true"}
	}, nil)
	b.up()
	gone := func() bool { return len(children(t, b.r6, "installed"))+len(children(t, b.r8, "installed")) == 0 }
	check(t, b.r6.Await(t.Context(), patience, "end the idle pair", gone))
	check(t, b.r6.Await(t.Context(), patience, "end the IKE SA (T1)", func() bool { return connection(t, b.r6, "r8").State == "down" }))
	b.ping(b.A, b.A4, b.B4, 3)
}
