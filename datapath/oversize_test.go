package datapath_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// tunnelMTU is what fits AES-GCM in IPv4 within 1500 bytes.
const tunnelMTU = 1446

func dontFragment(ip []byte) []byte {
	ip[6] |= 0x40
	packet.SetIPv4Checksum(ip)
	return ip
}

// reassemble joins IPv4 or IPv6 fragments that come in order, as gopacket reads them.
func reassemble(t testing.TB, pieces [][]byte) []byte {
	t.Helper()
	var whole []byte
	for i, p := range pieces {
		var h packet.Header
		if v := h.ParseIP(p); v != packet.Pass {
			t.Fatalf("piece %d: %v", i, v)
		}
		if h.FragmentOffset != len(whole) || h.More != (i < len(pieces)-1) {
			t.Fatalf("piece %d of %d: offset %d, more %v, after %d bytes", i, len(pieces), h.FragmentOffset, h.More, len(whole))
		}
		whole = append(whole, p[h.Payload:h.Length]...)
	}
	head := bytes.Clone(pieces[0][:packet.IPv4Len])
	if head[0]>>4 == 6 {
		head = bytes.Clone(pieces[0][:packet.IPv6Len])
		protocol := pieces[0][packet.IPv6Len]
		whole = append(head, whole...)
		packet.Restack(whole, packet.IPv6Len, protocol)
		return whole
	}
	whole = append(head, whole...)
	binary.BigEndian.PutUint16(whole[6:], 0)
	packet.Restack(whole, packet.IPv4Len, whole[9])
	return whole
}

func payloads(frames [][]byte) (list [][]byte) {
	for _, f := range frames {
		list = append(list, f[packet.EthernetLen:])
	}
	return list
}

// N2: what exceeds the tunnel is fragmented before encryption, so that the peer
// decrypts each piece by itself; from a port and from this host alike.
func TestFragmentationBeforeEncryption(t *testing.T) {
	for _, size := range []int{tunnelMTU + 1, 2000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			g := newGateway(t, options{})
			tn := g.up(newTunnel(t, 0, 1, false, false, nil))
			ip := clearPacket(t, hostA4, hostB4, size-28)
			g.through(0, inside, fromInside(partial(t, ip)))
			var pieces [][]byte
			for _, f := range g.sent(outside) {
				if len(f)-packet.EthernetLen > 1500 {
					t.Errorf("%d bytes sent", len(f)-packet.EthernetLen)
				}
				pieces = append(pieces, tn.opened(t, f[packet.EthernetLen:]))
			}
			if got := reassemble(t, pieces); len(pieces) != 2 || !bytes.Equal(got, hopped(t, ip)) {
				t.Errorf("%d pieces make %x", len(pieces), got)
			}
			want := map[packet.Verdict]uint64{packet.Fragmented: 1, packet.Forwarded: 2}
			if diff := cmp.Diff(want, g.verdicts()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// N2: where the connection asks for it, where the selectors name ports that later
// fragments would not show, and in transport mode, the sealed packet is cut.
func TestFragmentationAfterEncryption(t *testing.T) {
	ports := func(_, out *sadb.SA) {
		out.RemoteTS = selectors("10.8.8.8/32", "fd08::8/128")
		out.RemoteTS[0].Protocol, out.RemoteTS[0].FirstPort, out.RemoteTS[0].LastPort = packet.UDP, 4321, 4321
	}
	for _, c := range []struct {
		name   string
		outer6 bool
		change func(in, out *sadb.SA)
		df     bool
	}{
		{"asked for", false, func(_, out *sadb.SA) { out.FragmentAfter = true }, false},
		{"asked for, outer IPv6", true, func(_, out *sadb.SA) { out.FragmentAfter = true }, false},
		{"asked for, with padding", false, func(_, out *sadb.SA) { out.FragmentAfter, out.TFC = true, 9000 }, false},
		{"ports", false, ports, false},
		{"DF cleared", false, func(_, out *sadb.SA) { out.DF = sadb.DFClear }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t, options{})
			tn := g.up(newTunnel(t, 0, 1, c.outer6, false, c.change))
			ip := clearPacket(t, hostA4, hostB4, 1500-28)
			if c.df {
				ip = dontFragment(ip)
			}
			g.through(0, inside, fromInside(ip))
			frames := g.sent(outside)
			if got := tn.opened(t, reassemble(t, payloads(frames))); len(frames) != 2 || !bytes.Equal(got, hopped(t, ip)) {
				t.Errorf("%d frames make %x", len(frames), got)
			}
			want := map[packet.Verdict]uint64{packet.Fragmented: 1, packet.Forwarded: 2}
			if diff := cmp.Diff(want, g.verdicts()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// N3: what may not be fragmented is answered with the tunnel's exact MTU, from the
// address of the link on which its source is; through the tunnel device, from the
// packet's own destination.
func TestTooBigIsAnswered(t *testing.T) {
	for _, c := range []struct {
		name     string
		v6, host bool
		change   func(in, out *sadb.SA)
		mtu      int
	}{
		{"IPv4", false, false, nil, tunnelMTU},
		{"IPv6", true, false, nil, tunnelMTU},
		{"IPv4 from this host", false, true, nil, tunnelMTU},
		{"IPv4, DF set outside", false, false, func(_, out *sadb.SA) { out.DF = sadb.DFSet }, tunnelMTU},
		{"IPv4, fragmentation after", false, false, func(_, out *sadb.SA) { out.FragmentAfter = true }, tunnelMTU},
		{"IPv4, known path", false, false, func(_, out *sadb.SA) { out.PathMTU = 1400 }, tunnelMTU - 100},
		{"IPv6, path too narrow for it", true, false, func(_, out *sadb.SA) { out.PathMTU = 1290 }, 1280},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGateway(t, options{local: append(r6Local(), addr("fd06::1"))})
			g.up(newTunnel(t, 0, 1, false, false, c.change))
			a, b := hosts(c.v6)
			ip := clearPacket(t, a, b, 1500-48)
			if !c.v6 {
				ip = dontFragment(ip)
			}
			var answer []byte
			from := map[bool]string{false: "10.6.6.1", true: "fd06::1"}[c.v6]
			if c.host {
				g.fromHost(ip)
				g.poll()
				answer, from = frame(hostMAC, insideMAC, g.slow.host[0]), "10.8.8.8"
			} else {
				g.through(0, inside, fromInside(ip))
				answer = g.sent(inside)[0]
			}
			p := dissect(t, answer)
			_, _, src, dst := addresses(t, p)
			if src != addr(from) || dst != a {
				t.Errorf("from %v to %v", src, dst)
			}
			if got := saidMTU(t, p); got != c.mtu {
				t.Errorf("MTU %d, want %d", got, c.mtu)
			}
			want := map[packet.Verdict]uint64{packet.DropTooBig: 1}
			if diff := cmp.Diff(want, g.verdicts()); diff != "" {
				t.Error(diff)
			}
			if n := g.drops(); n != 1 {
				t.Errorf("%d drops of the SA", n)
			}
		})
	}
}

func r6Local() (list []netip.Addr) { return []netip.Addr{r6v4, r6v6, addr("10.6.6.1")} }

// saidMTU is what "fragmentation needed" or "packet too big" says, as gopacket reads it.
func saidMTU(t testing.TB, p gopacket.Packet) int {
	t.Helper()
	if l, ok := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4); ok {
		if l.TypeCode != layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded) {
			t.Fatalf("ICMP %v", l.TypeCode)
		}
		return int(l.Seq)
	}
	l, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	if !ok || l.TypeCode.Type() != layers.ICMPv6TypePacketTooBig {
		t.Fatalf("no ICMP error: %v", p)
	}
	return int(binary.BigEndian.Uint32(l.Payload))
}

// A flood of packets that are too big is not answered in full.
func TestAnswersAreLimited(t *testing.T) {
	g := newGateway(t, options{})
	g.up(newTunnel(t, 0, 1, false, false, nil))
	for range 900 {
		g.queues[0][inside].Deliver(fromInside(dontFragment(clearPacket(t, hostA4, hostB4, 1460))))
	}
	g.poll()
	if n := len(g.sent(inside)); n < 50 || n > 200 || g.verdicts()[packet.DropTooBig] != 900 {
		t.Errorf("%d answers, verdicts %v", n, g.verdicts())
	}
}

// A SYN announces no larger segments than fit the tunnel, in either direction,
// unless the SA keeps what it says.
func TestSegmentSizeIsClamped(t *testing.T) {
	for _, keep := range []bool{false, true} {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("keep %v IPv6 %v", keep, v6), func(t *testing.T) {
				g := newGateway(t, options{})
				tn := g.up(newTunnel(t, 0, 1, false, false, func(_, out *sadb.SA) { out.KeepMSS = keep }))
				a, b := hosts(v6)
				want := uint16(1460)
				if !keep {
					want = map[bool]uint16{false: tunnelMTU - 40, true: tunnelMTU - 60}[v6]
				}
				g.through(0, inside, fromInside(syn(t, a, b, 1460)))
				out := tn.opened(t, g.sent(outside)[0][packet.EthernetLen:])
				g.through(0, outside, fromOutside(tn.sealed(t, syn(t, b, a, 1460))))
				in := g.sent(inside)[0][packet.EthernetLen:]
				for way, ip := range map[string][]byte{"out": out, "in": in} {
					var h packet.Header
					if v := h.ParseIP(ip); v != packet.Pass || !packet.ChecksumOK(ip, &h) {
						t.Errorf("%s: %v, or the checksum is wrong", way, v)
					}
					if got := binary.BigEndian.Uint16(ip[h.Payload+22:]); got != want {
						t.Errorf("%s: MSS %d, want %d", way, got, want)
					}
				}
			})
		}
	}
}

// syn opens a TCP connection.
func syn(t testing.TB, src, dst netip.Addr, mss uint16) []byte {
	t.Helper()
	l := &layers.TCP{SrcPort: 1234, DstPort: 80, SYN: true, Window: 1000, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: binary.BigEndian.AppendUint16(nil, mss)}}}
	ip := ipLayer(src, dst, layers.IPProtocolTCP)
	must(t, l.SetNetworkLayerForChecksum(ip.(gopacket.NetworkLayer)))
	return build(t, ip, l)
}

// Transport mode protects what this host says itself, by its own addresses, and
// cuts the sealed packet if it must.
func TestTransportMode(t *testing.T) {
	for _, encap := range []bool{false, true} {
		for _, size := range []int{100, 1472} {
			t.Run(fmt.Sprintf("encap %v size %d", encap, size), func(t *testing.T) {
				g := newGateway(t, options{})
				local, remote := selectors("192.0.2.1/32"), selectors("192.0.2.2/32")
				tn := newTunnel(t, 0, 1, false, encap, func(in, out *sadb.SA) {
					for _, sa := range []*sadb.SA{in, out} {
						sa.Mode, sa.LocalTS, sa.RemoteTS = sadb.Transport, local, remote
					}
				})
				must(t, g.PolicyAdd(sadb.Policy{ID: tunnelID, Action: sadb.Protect, Acquire: true, Local: local, Remote: remote}))
				g.add(tn)
				ip := clearPacket(t, r6v4, r8v4, size)
				g.fromHost(ip)
				g.poll()
				outer := payloads(g.sent(outside))
				if size > 1000 {
					outer = [][]byte{reassemble(t, outer)}
				}
				if got := tn.opened(t, outer[0]); !bytes.Equal(got, ip) {
					t.Errorf("the peer got %x, sent %x", got, ip)
				}
				back := clearPacket(t, r8v4, r6v4, 100)
				g.through(0, outside, fromOutside(tn.sealed(t, back)))
				if len(g.slow.host) != 1 || !bytes.Equal(g.slow.host[0], back) {
					t.Errorf("this host got %x, sent %x", g.slow.host, back)
				}
			})
		}
	}
}

// N5: an authentic packet from elsewhere is reported, once; others are not.
func TestMovedPeerIsReported(t *testing.T) {
	g := newGateway(t, options{})
	tn := g.up(newTunnel(t, 0, 1, false, true, nil))
	shifted := func(change func([]byte)) []byte {
		outer := tn.sealed(t, clearPacket(t, hostB4, hostA4, 10))
		binary.BigEndian.PutUint16(outer[packet.IPv4Len:], 61000)
		change(outer)
		return fromOutside(outer)
	}
	g.through(0, outside, shifted(func(o []byte) { o[len(o)-1] ^= 1 }))
	g.Group.Workers[0].Publish()
	if got := g.slow.taken(); len(got) != 0 {
		t.Errorf("after a forged packet: %v", got)
	}
	for range 3 {
		g.through(0, outside, shifted(func([]byte) {}))
		g.slow.broken = !g.slow.broken // the first report finds the queue full
		g.Group.Workers[0].Publish()
	}
	_, remote := ends(false)
	want := []keysock.Message{keysock.Moved{Pair: tn.in.Pair, Remote: netip.AddrPortFrom(remote.Addr(), 61000)}}
	if diff := diffMessages(want, g.slow.taken()); diff != "" {
		t.Error(diff)
	}
}
