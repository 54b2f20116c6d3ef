package main_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// espAt is where ESP begins in an untagged IPv4 frame without options.
const espAt = 14 + 20

// TestFloods: a flood of bogus SPIs from everywhere, of a packet that was heard before,
// and of forgeries for a live SPI, five times as many packets as the tunnel carries
// meanwhile: it loses none, R6 counts every one of the flood, and does not follow the
// forger (V6, N5).
func TestFloods(t *testing.T) {
	b := newBed(t, "floods", netlab.Options{}).spindles(nil)
	b.up()
	genuine := b.overhear("w8", b.R8Addr, func() { b.ping(b.B, b.B4, b.A4, 3) }).frame
	wire, err := b.Wire.Inject("w6")
	check(t, err)
	defer wire.Close()

	rng := rand.New(rand.NewPCG(1, 1))
	unknown := func(int) []byte {
		f := slices.Clone(genuine)
		copy(f[26:], []byte{203, 0, 113, byte(rng.Uint32())})
		remade(f[14:], len(f)-14, 0)
		binary.BigEndian.PutUint32(f[espAt:], 256+rng.Uint32N(1<<31))
		return f
	}
	forged := func(i int) []byte {
		f := slices.Clone(genuine)
		copy(f[26:], []byte{203, 0, 113, byte(i)}) // not from where the peer is
		remade(f[14:], len(f)-14, 0)
		binary.BigEndian.PutUint32(f[espAt+4:], 1<<20+uint32(i))
		f[len(f)-1] ^= byte(1 + i%255)
		return f
	}
	for _, c := range []struct {
		name, verdict string
		next          func(int) []byte
	}{
		{"bogus SPIs", "drop_unknown_spi", unknown},
		{"replayed packets", "drop_replay", func(int) []byte { return genuine }},
		{"forgeries", "drop_auth", forged},
	} {
		t.Run(c.name, func(t *testing.T) {
			const frames, perSecond = 10_000, 10_000
			before, budget := b.verdict(c.verdict), b.xdpDrops("drop_unknown_spi_budget")
			flooded := make(chan error, 1)
			go func() {
				_, err := wire.Flood(t.Context(), frames, perSecond, c.next)
				flooded <- err
			}()
			results, err := flow(t.Context(), netlab.BulkOptions{Duration: time.Second, Rate: 1000, Window: 16}, b.ways(4))
			check(t, err)
			check(t, <-flooded)
			arrived(t, results)
			check(t, b.r6.Await(t.Context(), patience, "count the flood", func() bool {
				return b.verdict(c.verdict)-before+b.xdpDrops("drop_unknown_spi_budget")-budget == frames
			}))
			if kept := b.verdict(c.verdict) - before; c.verdict == "drop_unknown_spi" && kept > frames/2 {
				t.Errorf("%d of %d bogus packets reached the worker: XDP keeps off what is beyond its budget", kept, frames)
			}
		})
	}
	if child := b.child(b.r6); child.Remote != netip.AddrPortFrom(b.R8Addr, 500).String() && child.Remote != netip.AddrPortFrom(b.R8Addr, 0).String() {
		t.Errorf("R6 follows a forger: the peer is at %s", child.Remote)
	}
	b.ping(b.A, b.A4, b.B4, 3)
	b.secret()
}

// xdpDrops is one of the XDP program's counters at R6, of all ports together.
func (b *bed) xdpDrops(name string) (n uint64) {
	b.t.Helper()
	drops, err := b.r6.Drops(b.t.Context())
	check(b.t, err)
	return drops["xdp out0 "+name] + drops["xdp in0 "+name]
}

// TestPreferredClass: R6's data path was away for a moment, and a full ring waits for
// it. Of that, all of the preferred class gets through, and what is lost is of the
// others; both are counted (N7).
func TestPreferredClass(t *testing.T) {
	b := newBed(t, "prefer", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.Gateway = []string{"priority: {dscp: [ef]}"}
	})
	b.up()
	const ef, best, packets, every = 46, 0, 1500, 10
	listen := map[int]*receiver{ef: b.receive(b.B4, 5046), best: b.receive(b.B4, 5000)}
	host, err := b.A.Inject("eth0")
	check(t, err)
	defer host.Close()
	to, err := b.R6.HardwareAddr("in0")
	check(t, err)
	frame := func(dscp int) []byte {
		f := plain(to, datagramTo(t, b.A4, b.B4, uint16(5000+dscp), uint8(dscp<<2)))[0]
		copy(f[6:], host.MAC)
		return f
	}
	pid, err := b.r6.PID("datapath")
	check(t, err)
	check(t, syscall.Kill(pid, syscall.SIGSTOP))
	sent := map[int]int{}
	for i := range packets {
		dscp := best
		if i%every == 0 {
			dscp = ef
		}
		sent[dscp]++
		check(t, host.Send(frame(dscp)))
	}
	check(t, syscall.Kill(pid, syscall.SIGCONT))

	check(t, b.r6.Await(t.Context(), patience, "drop what is late", func() bool { return b.verdict("drop_overload") > 0 }))
	check(t, b.r6.Await(t.Context(), patience, "let the rest through", func() bool {
		return listen[ef].count() == sent[ef] && listen[best].count() == sent[best]-int(b.verdict("drop_overload"))
	}))
	all, err := testbed.Table[struct {
		Name  string `json:"name"`
		Value uint64 `json:"value"`
	}](t.Context(), b.r6, "counters")
	check(t, err)
	preferred := uint64(0)
	for _, c := range all {
		if c.Name == "preferred" {
			preferred += c.Value
		}
	}
	if preferred == 0 || preferred > uint64(sent[ef]) {
		t.Errorf("%d packets are counted as preferred, %d were sent", preferred, sent[ef])
	}
	b.noDrops("drop_overload")
	b.secret()
}

// datagramTo is a whole UDP packet of 64 bytes with that traffic class.
func datagramTo(t *testing.T, src, dst netip.Addr, port uint16, class uint8) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, TOS: class, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	udp := &layers.UDP{SrcPort: 4000, DstPort: layers.UDPPort(port)}
	check(t, udp.SetNetworkLayerForChecksum(ip))
	buf := gopacket.NewSerializeBuffer()
	check(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(make([]byte, 36))))
	return buf.Bytes()
}
