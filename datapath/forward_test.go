package datapath_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// everyShape runs a test for inner and outer family, native and UDP-encapsulated.
func everyShape(t *testing.T, run func(t *testing.T, inner6, outer6, encap bool)) {
	for i := range 8 {
		inner6, outer6, encap := i&1 != 0, i&2 != 0, i&4 != 0
		name := fmt.Sprintf("inner v%d in outer v%d encap %v", 4+2*(i&1), 4+i&2, encap)
		t.Run(name, func(t *testing.T) { run(t, inner6, outer6, encap) })
	}
}

// The way out: a frame of an inside host becomes ESP to the peer, which opens it
// and finds the same packet one hop older.
func TestOutboundReachesThePeer(t *testing.T) {
	everyShape(t, func(t *testing.T, inner6, outer6, encap bool) {
		for _, tags := range [][]uint16{nil, {10}, {10, 20}} {
			g := newGateway(t, options{})
			tn := g.up(newTunnel(t, 0, 1, outer6, encap, nil))
			a, b := hosts(inner6)
			ip := clearPacket(t, a, b, 100)
			g.through(0, inside, fromInside(ip, tags...))

			frames := g.sent(outside)
			if len(frames) != 1 {
				t.Fatalf("%d frames sent, verdicts %v", len(frames), g.verdicts())
			}
			p := dissect(t, frames[0])
			srcMAC, dstMAC, src, dst := addresses(t, p)
			local, remote := ends(outer6)
			if srcMAC != outsideMAC || dstMAC != peerMAC || src != local.Addr() || dst != remote.Addr() {
				t.Errorf("sent from %x %v to %x %v", srcMAC, src, dstMAC, dst)
			}
			spi, sequence, udp := spiOf(t, p)
			if spi != uint32(tn.out.SPI) || sequence != 1 || udp != encap {
				t.Errorf("SPI %#x sequence %d encapsulated %v", spi, sequence, udp)
			}
			if got := tn.opened(t, frames[0][packet.EthernetLen:]); !bytes.Equal(got, hopped(t, ip)) {
				t.Errorf("the peer got %x, sent %x", got, ip)
			}
			want := map[packet.Verdict]uint64{packet.Forwarded: 1}
			if diff := cmp.Diff(want, g.verdicts()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// The way in: ESP of the peer becomes a frame to the inside host.
func TestInboundReachesTheHost(t *testing.T) {
	everyShape(t, func(t *testing.T, inner6, outer6, encap bool) {
		for _, tags := range [][]uint16{nil, {10}, {10, 20}} {
			g := newGateway(t, options{})
			tn := g.up(newTunnel(t, 0, 1, outer6, encap, nil))
			a, b := hosts(inner6)
			ip := clearPacket(t, b, a, 100)
			g.through(0, outside, fromOutside(tn.sealed(t, ip), tags...))

			frames := g.sent(inside)
			if len(frames) != 1 {
				t.Fatalf("%d frames sent, verdicts %v", len(frames), g.verdicts())
			}
			srcMAC, dstMAC, src, dst := addresses(t, dissect(t, frames[0]))
			if srcMAC != insideMAC || dstMAC != hostMAC || src != b || dst != a {
				t.Errorf("sent from %x %v to %x %v", srcMAC, src, dstMAC, dst)
			}
			if !bytes.Equal(frames[0][packet.EthernetLen:], hopped(t, ip)) {
				t.Errorf("the host got %x, sent %x", frames[0], ip)
			}
			want := map[packet.Verdict]uint64{packet.Forwarded: 1}
			if diff := cmp.Diff(want, g.verdicts()); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// TestHeadersBeforeESP: what stands between the outer header and ESP, or the UDP around
// it, is stepped over (RFC 8200 §4, RFC 791 §3.1).
func TestHeadersBeforeESP(t *testing.T) {
	padding := []byte{0, 1, 4, 0, 0, 0, 0} // behind the next header: PadN
	for _, c := range []struct {
		name   string
		v6     bool
		chain  []uint8 // IPv6 extension headers
		length int     // of IPv4 options
	}{
		{"IPv4 options", false, nil, 8},
		{"as many as there can be", false, nil, 40},
		{"hop-by-hop options", true, []uint8{0}, 0},
		{"three extension headers", true, []uint8{0, 60, 60}, 0},
	} {
		for _, encap := range []bool{false, true} {
			g := newGateway(t, options{})
			tn := g.up(newTunnel(t, 0, 1, c.v6, encap, nil))
			ip := clearPacket(t, hostB4, hostA4, 100)
			outer := tn.sealed(t, ip)
			for i := len(c.chain) - 1; i >= 0; i-- {
				header := append([]byte{outer[6]}, padding...)
				outer = slices.Insert(outer, packet.IPv6Len, header...)
				outer[6] = c.chain[i]
			}
			if c.v6 {
				binary.BigEndian.PutUint16(outer[4:], uint16(len(outer)-packet.IPv6Len))
			} else {
				outer = slices.Insert(outer, packet.IPv4Len, bytes.Repeat([]byte{1}, c.length)...)
				outer[0] += byte(c.length / 4)
				binary.BigEndian.PutUint16(outer[2:], uint16(len(outer)))
				packet.SetIPv4Checksum(outer)
			}
			g.through(0, outside, fromOutside(outer))
			frames := g.sent(inside)
			if len(frames) != 1 || !bytes.Equal(frames[0][packet.EthernetLen:], hopped(t, ip)) {
				t.Errorf("%s, encap %v: %d frames, verdicts %v", c.name, encap, len(frames), g.verdicts())
			}
		}
	}
}

// RFC 7296 §2.23: an implementation must process both forms at any time.
func TestEitherEncapsulationIsAccepted(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	other := tn.in
	other.Encap = true
	tn.seal = peerSeal(t, other)
	g.through(0, outside, fromOutside(tn.sealed(t, clearPacket(t, hostB4, hostA4, 8))))
	if n := len(g.sent(inside)); n != 1 {
		t.Errorf("%d frames, verdicts %v", n, g.verdicts())
	}
}

// Decrypted packets change ports: the one that was decrypted into a frame of the
// wrong port must not be lost, nor sent twice.
func TestNextPacketLeavesByAnotherPort(t *testing.T) {
	o := options{ports: threePorts(), routes: r6Routes()}
	o.routes[prefix("10.6.5.0/24")] = direct(2, insideMAC, hostMAC)
	g := newGateway(t, o)
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	for i, to := range []string{"10.6.6.6", "10.6.5.5", "10.6.6.6", "10.6.5.5", "10.6.5.5"} {
		ip := clearPacket(t, hostB4, addr(to), 30+i)
		g.through(0, outside, fromOutside(tn.sealed(t, ip)))
		port := inside
		if to == "10.6.5.5" {
			port = 2
		}
		frames := g.sent(port)
		if len(frames) != 1 || !bytes.Equal(frames[0][packet.EthernetLen:], hopped(t, ip)) {
			t.Fatalf("packet %d: port %d sent %x", i, port, frames)
		}
		if others := len(g.sent(3-port)) + len(g.sent(outside)); others != 0 {
			t.Fatalf("packet %d: %d frames by another port", i, others)
		}
	}
}

// An Ethernet frame may be longer than its packet; the padding is not tunnelled.
func TestPaddingStaysBehind(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	ip := clearPacket(t, hostA4, hostB4, 1)
	g.through(0, inside, append(fromInside(ip), make([]byte, 17)...))
	frames := g.sent(outside)
	if len(frames) != 1 || !bytes.Equal(tn.opened(t, frames[0][packet.EthernetLen:]), hopped(t, ip)) {
		t.Errorf("sent %x", frames)
	}
}

// A veth peer leaves the sum of the pseudo header where the checksum belongs.
func TestPartialChecksumIsCompleted(t *testing.T) {
	for _, p := range []struct {
		name     string
		repairs  bool
		complete bool
	}{{"veth", true, true}, {"hardware", false, false}} {
		t.Run(p.name, func(t *testing.T) {
			ports := twoPorts()
			ports[inside].RepairChecksum = p.repairs
			g := newGateway(t, options{ports: ports})
			tn := g.up(newTunnel(t, 0, 1, false, false, nil))
			whole := clearPacket(t, hostA4, hostB4, 100)
			g.through(0, inside, fromInside(partial(t, whole)))
			got := tn.opened(t, g.sent(outside)[0][packet.EthernetLen:])
			if bytes.Equal(got, hopped(t, whole)) != p.complete {
				t.Errorf("completed: %v, want %v", !p.complete, p.complete)
			}
		})
	}
}

// A gateway with one port forwards both ways on it.
func TestOnePort(t *testing.T) {
	r := r6Routes()
	r[prefix("10.6.6.0/24")] = direct(0, outsideMAC, hostMAC)
	g := newGateway(t, options{routes: r, ports: onePort()})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))

	out := clearPacket(t, hostA4, hostB4, 10)
	g.through(0, 0, frame(hostMAC, outsideMAC, out))
	frames := g.sent(0)
	if len(frames) != 1 || !bytes.Equal(tn.opened(t, frames[0][packet.EthernetLen:]), hopped(t, out)) {
		t.Fatalf("out: sent %x, verdicts %v", frames, g.verdicts())
	}
	in := clearPacket(t, hostB4, hostA4, 10)
	g.through(0, 0, fromOutside(tn.sealed(t, in)))
	frames = g.sent(0)
	if len(frames) != 1 || !bytes.Equal(frames[0][packet.EthernetLen:], hopped(t, in)) {
		t.Fatalf("in: sent %x, verdicts %v", frames, g.verdicts())
	}
	_, to, _, _ := addresses(t, dissect(t, frames[0]))
	if to != hostMAC {
		t.Errorf("sent to %x", to)
	}
}

// On such a port, ESP between others that passes through under a policy is
// protected like anything else; ESP to this host is opened.
func TestForeignESPOnOnePort(t *testing.T) {
	g := newGateway(t, options{ports: onePort()})
	tn := g.up(newTunnel(t, 0, 1, false, false, nil))
	foreign := tn.sealed(t, clearPacket(t, hostB4, hostA4, 10))
	copy(foreign[12:], hostA4.AsSlice())
	copy(foreign[16:], hostB4.AsSlice())
	packet.SetIPv4Checksum(foreign)
	g.through(0, 0, frame(hostMAC, outsideMAC, foreign))
	frames := g.sent(0)
	if len(frames) != 1 || !bytes.Equal(tn.opened(t, frames[0][packet.EthernetLen:]), hopped(t, foreign)) {
		t.Errorf("sent %x, verdicts %v", frames, g.verdicts())
	}
}

// A peer's packet for another peer must not leave in the clear: it goes to the
// kernel, whose route into the tunnel device brings it back to be sealed.
func TestBetweenTunnelsNothingLeavesInTheClear(t *testing.T) {
	for _, ports := range []string{"two ports", "one port"} {
		t.Run(ports, func(t *testing.T) {
			o := options{}
			if ports == "one port" {
				o.ports = onePort()
			}
			g := newGateway(t, o)
			must(t, g.PolicyAdd(sadb.Policy{ID: 2, Action: sadb.Protect, Acquire: true,
				Local: selectors("10.8.8.8/32"), Remote: selectors("10.9.9.0/24")}))
			tn := newTunnel(t, 0, 1, false, false, func(in, _ *sadb.SA) { in.LocalTS = selectors("0.0.0.0/0") })
			g.up(tn)
			ip := clearPacket(t, hostB4, addr("10.9.9.9"), 10)
			g.through(0, outside, fromOutside(tn.sealed(t, ip)))
			if n := len(g.sent(outside)); n != 0 {
				t.Fatalf("%d frames left in the clear", n)
			}
			if len(g.slow.host) != 1 || !bytes.Equal(g.slow.host[0], ip) {
				t.Fatalf("the kernel got %x, verdicts %v", g.slow.host, g.verdicts())
			}
		})
	}
}
