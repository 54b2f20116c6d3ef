package main_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// overheard is an ESP packet on the wire, as it came in by one of its ends.
type overheard struct {
	class  byte
	df     bool
	length int
	frame  []byte
}

// listen has something happen and returns the first frame that comes in by a port of
// the wire and is wanted.
func (b *bed) listen(port string, wanted func(frame []byte) bool, happen func()) []byte {
	b.t.Helper()
	in, err := b.Wire.Inject(port)
	check(b.t, err)
	defer in.Close()
	heard := make(chan []byte, 1)
	go func() {
		frame, _ := in.Await(b.t.Context(), patience, wanted)
		heard <- frame
	}()
	happen()
	f := <-heard
	if f == nil {
		b.t.Fatalf("no such frame was heard at %s", port)
	}
	return f
}

// overhear is listen for ESP from an address.
func (b *bed) overhear(port string, from netip.Addr, happen func()) overheard {
	b.t.Helper()
	f := b.listen(port, func(f []byte) bool {
		return len(f) > espAt && binary.BigEndian.Uint16(f[12:]) == 0x0800 && f[23] == 50 && netip.AddrFrom4([4]byte(f[26:30])) == from
	}, happen)
	return overheard{f[15], f[20]&0x40 != 0, int(binary.BigEndian.Uint16(f[16:])), f}
}

// TestOuterPackets: what a child says of its outer packets is what the wire shows: DF
// set, a DSCP of its own and TFC padding on R6's (N3); on R8's DF is clear whatever the
// inner packet says, so that one which may not be fragmented passes in fragments of ESP
// (N2). R6 has switched the replay window off: what comes again passes again (N1).
func TestOuterPackets(t *testing.T) {
	b := newBed(t, "outer", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		r6.ChildLines = []string{"df: set", "dscp: cs5", "tfc: 1000", "replay_window: 0"}
		r8.ChildLines = []string{"df: clear"}
	})
	b.up()
	ping := func(from *netlab.NS, to netip.Addr, words ...string) func() {
		return func() {
			b.t.Helper()
			out, err := from.Run(t.Context(), append(append([]string{"ping", "-c", "5", "-i", "0.05", "-w", "5"}, words...), to.String())...)
			if err != nil || !strings.Contains(out, " 0% packet loss") {
				b.t.Errorf("ping %v: %s: %v", words, out, err)
			}
		}
	}
	ours := b.overhear("w6", b.R6Addr, ping(b.A, b.B4, "-M", "dont", "-Q", "0xb8"))
	if !ours.df || ours.class != 40<<2 || ours.length < 1000 || ours.length > 1100 {
		t.Errorf("R6's outer packets have DF %v, class %#x, %d bytes", ours.df, ours.class, ours.length)
	}
	theirs := b.overhear("w8", b.R8Addr, ping(b.B, b.A4, "-M", "do", "-Q", "0xb8"))
	if theirs.df || theirs.class != 0xb8 || theirs.length > 200 {
		t.Errorf("R8's outer packets have DF %v, class %#x, %d bytes", theirs.df, theirs.class, theirs.length)
	}
	before, err := b.wire.Read()
	check(t, err)
	// One way only: the answer meets R6's DF, and A would be told.
	out, _ := b.B.Run(t.Context(), "ping", "-M", "do", "-c", "3", "-i", "0.05", "-W", "1", "-s", "1472", b.A4.String())
	if strings.Contains(strings.ToLower(out), "mtu") {
		t.Errorf("the source is told to send less, though df is clear: %s", out)
	}
	after, err := b.wire.Read()
	check(t, err)
	if n := after.ESP.Frames - before.ESP.Frames; n < 6 {
		t.Errorf("%d frames of ESP for three packets that do not fit", n)
	}

	wire, err := b.Wire.Inject("w6")
	check(t, err)
	defer wire.Close()
	opened := b.child(b.r6).PacketsIn
	for range 5 {
		check(t, wire.Send(theirs.frame))
	}
	check(t, b.r6.Await(t.Context(), patience, "open what comes again", func() bool { return b.child(b.r6).PacketsIn == opened+5 }))
	if b.verdict("drop_replay") != 0 {
		t.Error("a packet was dropped as a repetition, though the window is off")
	}
	b.secret()
}
