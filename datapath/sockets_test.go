package datapath_test

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath"
	"spindle/datapath/packet"
)

// received is what the sockets gave to either callback.
type received struct {
	local, remote netip.AddrPort // of IKE
	data          []byte         // the message, or the outer packet with ESP
}

// openSockets opens them and reads them until the test ends.
func openSockets(t *testing.T) (s *datapath.Sockets, ike, esp chan received) {
	t.Helper()
	s, err := datapath.OpenSockets(0x5350)
	must(t, err)
	ike, esp = make(chan received, 100), make(chan received, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Receive(
			func(local, remote netip.AddrPort, m []byte) { ike <- received{local, remote, bytes.Clone(m)} },
			func(p []byte) { esp <- received{data: bytes.Clone(p)} },
			func([]byte) {})
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return s, ike, esp
}

// listenFar opens a UDP socket on the other side.
func (b *netbed) listenFar(address string) (c *net.UDPConn) {
	b.t.Helper()
	b.inFar(func() {
		var err error
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		must(b.t, err)
	})
	b.t.Cleanup(func() { c.Close() })
	must(b.t, c.SetReadDeadline(time.Now().Add(3*time.Second)))
	return c
}

func read(t *testing.T, c *net.UDPConn) ([]byte, netip.AddrPort) {
	t.Helper()
	buf := make([]byte, 1<<16)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	must(t, err)
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

// An IKE message leaves from the address and port that IKE names, which need not
// be the one that the route would choose, and behind the marker where there is one.
func TestSendIKE(t *testing.T) {
	b := newNetbed(t, 1)
	b.swallowUnmarked(unix.IPPROTO_UDP)
	s, _, _ := openSockets(t)
	b.inFar(func() { // the way back to the secondary addresses does not matter, the kernel's check does
		must(t, setSysctl("net/ipv4/conf/all/rp_filter", "0"))
		must(t, setSysctl("net/ipv4/conf/far0/rp_filter", "0"))
	})
	for _, c := range []struct{ local, remote, want string }{
		{"192.0.2.1:500", "192.0.2.2:500", "message"},
		{"198.51.100.1:500", "192.0.2.2:1500", "message"},
		{"198.51.100.1:4500", "192.0.2.2:4500", "\x00\x00\x00\x00message"},
		{"[2001:db8::1]:500", "[2001:db8::2]:500", "message"},
		{"[2001:db8:1::1]:4500", "[2001:db8::2]:4500", "\x00\x00\x00\x00message"},
	} {
		far := b.listenFar(c.remote)
		must(t, s.SendIKE(netip.MustParseAddrPort(c.local), netip.MustParseAddrPort(c.remote), []byte("message")))
		data, from := read(t, far)
		if string(data) != c.want || from.String() != c.local {
			t.Errorf("%s to %s: got %q from %v", c.local, c.remote, data, from)
		}
	}
	far := b.listenFar("192.0.2.2:600")
	must(t, s.SendIKE(netip.MustParseAddrPort("0.0.0.0:500"), netip.MustParseAddrPort("192.0.2.2:600"), []byte("any")))
	if _, from := read(t, far); from.String() != "192.0.2.1:500" {
		t.Errorf("the kernel's choice is %v", from)
	}
	if s.SendIKE(netip.MustParseAddrPort("203.0.113.9:500"), netip.MustParseAddrPort("192.0.2.2:600"), nil) == nil {
		t.Error("sent from an address that is not ours")
	}
	far = b.listenFar("192.0.2.2:700")
	long := bytes.Repeat([]byte{7}, 20000)
	must(t, s.SendIKE(netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:700"), long))
	if data, _ := read(t, far); !bytes.Equal(data, long) {
		t.Error("a long message did not come whole")
	}
}

// What comes by UDP is told apart: IKE with and without marker, keepalives, ESP,
// which gets its headers back, also when it came in fragments.
func TestReceiveUDP(t *testing.T) {
	b := newNetbed(t, 1)
	_, ike, esp := openSockets(t)
	for _, c := range []struct{ from, to4500, to500 string }{
		{"192.0.2.2:4500", "192.0.2.1:4500", "192.0.2.1:500"},
		{"[2001:db8::2]:4500", "[2001:db8::1]:4500", "[2001:db8::1]:500"},
	} {
		far := b.listenFar(c.from)
		send := func(to string, payload []byte) {
			t.Helper()
			_, err := far.WriteToUDPAddrPort(payload, netip.MustParseAddrPort(to))
			must(t, err)
		}
		expect := func(to string) {
			t.Helper()
			got := within(t, ike, "IKE")
			if string(got.data) != "message" || got.local.String() != to || got.remote.String() != c.from {
				t.Errorf("got %q from %v at %v", got.data, got.remote, got.local)
			}
		}
		send(c.to500, []byte("message"))
		expect(c.to500)
		send(c.to4500, []byte("\x00\x00\x00\x00message"))
		expect(c.to4500)
		send(c.to4500, []byte{0xff}) // gives nothing
		for _, n := range []int{40, 9000} {
			payload := append([]byte{1, 2, 3, 4}, make([]byte, n)...)
			send(c.to4500, payload)
			got := within(t, esp, "ESP in UDP").data
			var h packet.Header
			if v := h.ParseIP(got); v != packet.Pass {
				t.Fatal(v)
			}
			body, v := packet.UDPPayload(got, &h)
			src, dst := netip.AddrPortFrom(h.Src, h.SrcPort), netip.AddrPortFrom(h.Dst, h.DstPort)
			if v != packet.Pass || !bytes.Equal(body, payload) || src.String() != c.from || dst.String() != c.to4500 {
				t.Errorf("%d bytes: got %d from %v to %v, %v", len(payload), len(body), src, dst, v)
			}
			if !packet.ChecksumOK(got, &h) {
				t.Error("the UDP checksum is wrong")
			}
		}
	}
	if len(ike)+len(esp) != 0 {
		t.Error("more came than was sent")
	}
}

// Native ESP that the kernel reassembled comes whole, with its outer header.
func TestReceiveFragmentedESP(t *testing.T) {
	b := newNetbed(t, 1)
	_, _, esp := openSockets(t)
	for _, v6 := range []bool{false, true} {
		src, dst := r8v4, r6v4
		if v6 {
			src, dst = r8v6, r6v6
		}
		for _, n := range []int{40, 9000} {
			payload := append([]byte{1, 2, 3, 4}, make([]byte, n)...)
			b.sendESP(src, dst, payload)
			got := within(t, esp, "native ESP").data
			var h packet.Header
			if v := h.ParseIP(got); v != packet.Pass {
				t.Fatal(v)
			}
			if h.Src != src || h.Dst != dst || h.Protocol != packet.ESP || h.Fragment || !bytes.Equal(got[h.Payload:h.Length], payload) {
				t.Errorf("IPv6 %v, %d bytes: got %d, header %+v", v6, len(payload), h.Length, h)
			}
		}
	}
}

// sendESP has the other side's kernel build and fragment an ESP packet.
func (b *netbed) sendESP(src, dst netip.Addr, payload []byte) {
	b.t.Helper()
	b.inFar(func() {
		network := "ip4:50"
		if dst.Is6() {
			network = "ip6:50"
		}
		c, err := net.DialIP(network, &net.IPAddr{IP: src.AsSlice()}, &net.IPAddr{IP: dst.AsSlice()})
		must(b.t, err)
		defer c.Close()
		_, err = c.Write(payload)
		must(b.t, err)
	})
}

// A whole packet with its own header goes out by the kernel's routes, marked.
func TestSendPacket(t *testing.T) {
	b := newNetbed(t, 1)
	b.swallowUnmarked(unix.IPPROTO_RAW)
	s, _, _ := openSockets(t)
	for _, v6 := range []bool{false, true} {
		src, dst, remote := r6v4, r8v4, "192.0.2.2:9"
		if v6 {
			src, dst, remote = r6v6, r8v6, "[2001:db8::2]:9"
		}
		far := b.listenFar(remote)
		must(t, s.SendPacket(udp(t, netip.AddrPortFrom(src, 77), netip.AddrPortFrom(dst, 9), []byte("whole")), dst))
		if data, from := read(t, far); string(data) != "whole" || from != netip.AddrPortFrom(src, 77) {
			t.Errorf("got %q from %v", data, from)
		}
		if err := s.SendPacket(udp(t, netip.AddrPortFrom(src, 77), netip.AddrPortFrom(dst, 9), make([]byte, 1600)), dst); err != unix.EMSGSIZE {
			t.Errorf("a packet longer than the MTU: %v", err)
		}
	}
}

// Two gateways, or another IKE daemon, in one namespace: said clearly, nothing left.
func TestSocketsTakenAndClosed(t *testing.T) {
	newNetbed(t, 1)
	before := descriptors(t, "socket:")
	s, err := datapath.OpenSockets(1)
	must(t, err)
	if again, err := datapath.OpenSockets(1); err == nil {
		again.Close()
		t.Error("opened twice")
	} else {
		t.Log(err)
	}
	must(t, s.Close())
	if n := descriptors(t, "socket:"); n != before {
		t.Errorf("%d sockets, %d before", n, before)
	}
}
