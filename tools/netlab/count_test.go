package netlab_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"spindle/tools/netlab"
)

// frame builds an Ethernet frame with the oracle's encoder.
func frame(t *testing.T, etherType layers.EthernetType, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	all := append([]gopacket.SerializableLayer{&layers.Ethernet{
		SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: etherType}}, parts...)
	buf := gopacket.NewSerializeBuffer()
	must(t, gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, all...))
	return append([]byte(nil), buf.Bytes()...)
}

type ipv4Option func(*layers.IPv4)

func v4(t *testing.T, proto layers.IPProtocol, payload []byte, options ...ipv4Option) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: net.IP{192, 0, 2, 6}, DstIP: net.IP{192, 0, 2, 8}}
	for _, o := range options {
		o(ip)
	}
	return frame(t, layers.EthernetTypeIPv4, ip, gopacket.Payload(payload))
}

func v6(t *testing.T, next layers.IPProtocol, payload []byte, src, dst string) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
	return frame(t, layers.EthernetTypeIPv6, ip, gopacket.Payload(payload))
}

func udp(src, dst uint16, payload ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

// unreachable is ICMP's port unreachable about a packet of UDP.
func unreachable(t *testing.T, payload []byte, options ...ipv4Option) []byte {
	quoted := v4(t, 17, payload, options...)[14:]
	return append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, quoted...)
}

// Every class of frame, counted exactly, by its own class only.
func TestCounterClasses(t *testing.T) {
	q := newQuiet(t)
	protected := []netip.Prefix{netip.MustParsePrefix("10.6.6.0/24"), netip.MustParsePrefix("10.8.8.8/32"), netip.MustParsePrefix("2001:db8:8::/48")}
	const r6, r8 = "2001:db8:0:1::6", "2001:db8:0:1::8"
	esp, ike := []byte{0, 0, 16, 0, 0, 0, 0, 1, 0, 0, 0, 0}, make([]byte, 28)
	inside := func(ip *layers.IPv4) { ip.SrcIP = net.IP{10, 6, 6, 6} }
	toInside := func(ip *layers.IPv4) { ip.DstIP = net.IP{10, 8, 8, 8} }
	later := func(ip *layers.IPv4) { ip.FragOffset = 100 }
	first := func(ip *layers.IPv4) { ip.Flags = layers.IPv4MoreFragments }
	withOptions := func(ip *layers.IPv4) {
		ip.Options = []layers.IPv4Option{{OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1}, {OptionType: 1, OptionLength: 1}}
	}
	fragment6 := func(next byte, offset uint16, rest []byte) []byte {
		return append(binary.BigEndian.AppendUint16([]byte{next, 0}, offset<<3), append([]byte{0, 0, 0, 9}, rest...)...)
	}
	for _, c := range []struct {
		name, class string
		frame       []byte
	}{
		{"ESP", "esp", v4(t, 50, esp)},
		{"ESP, later fragment", "esp", v4(t, 50, esp, later)},
		{"ESP from a protected address", "clear", v4(t, 50, esp, inside)},
		{"IKE", "ike", v4(t, 17, udp(500, 500, ike...))},
		{"IKE from a translated port", "ike", v4(t, 17, udp(31000, 500, ike...))},
		{"IKE behind IP options", "ike", v4(t, 17, udp(500, 500, ike...), withOptions)},
		{"IKE, first fragment", "ike", v4(t, 17, udp(500, 500, ike...), first)},
		{"UDP, later fragment", "fragment", v4(t, 17, udp(500, 500, ike...), later)},
		{"IKE on 4500", "ike", v4(t, 17, udp(4500, 4500, ike...))},
		{"ESP in UDP", "esp-in-udp", v4(t, 17, udp(4500, 4500, esp...))},
		{"ESP in UDP from a translated port", "esp-in-udp", v4(t, 17, udp(31000, 4500, esp...))},
		{"keepalive", "keepalive", v4(t, 17, udp(4500, 4500, 0xff))},
		{"UDP", "clear", v4(t, 17, udp(5000, 5001, 1, 2, 3))},
		{"to a protected address", "clear", v4(t, 17, udp(500, 500, ike...), toInside)},
		{"TCP", "clear", v4(t, 6, make([]byte, 20))},
		{"ICMP", "clear", v4(t, 1, make([]byte, 8))},
		{"no IKE here", "other", v4(t, 1, unreachable(t, udp(500, 500, ike...)))},
		{"no IKE here, on 4500", "other", v4(t, 1, unreachable(t, udp(4500, 4500, ike...)))},
		{"port unreachable", "clear", v4(t, 1, unreachable(t, udp(5000, 5001, 1, 2, 3)))},
		{"TCP port unreachable", "clear", v4(t, 1, unreachable(t, make([]byte, 20), func(ip *layers.IPv4) { ip.Protocol = 6 }))},
		{"IGMP", "multicast", v4(t, 2, make([]byte, 8), func(ip *layers.IPv4) { ip.DstIP = net.IP{224, 0, 0, 22} })},
		{"ESP over IPv6", "esp", v6(t, 50, esp, r6, r8)},
		{"ESP over IPv6 to a protected address", "clear", v6(t, 50, esp, r6, "2001:db8:8::8")},
		{"IKE over IPv6", "ike", v6(t, 17, udp(500, 500, ike...), r6, r8)},
		{"ESP in UDP over IPv6", "esp-in-udp", v6(t, 17, udp(4500, 4500, esp...), r6, r8)},
		{"IKE over IPv6, first fragment", "ike", v6(t, 44, fragment6(17, 0, udp(500, 500, ike...)), r6, r8)},
		{"UDP over IPv6, later fragment", "fragment", v6(t, 44, fragment6(17, 9, ike), r6, r8)},
		{"TCP over IPv6, fragment", "clear", v6(t, 44, fragment6(6, 0, ike), r6, r8)},
		{"neighbour solicitation", "nd", v6(t, 58, append([]byte{135, 0}, make([]byte, 22)...), r6, r8)},
		{"echo request", "clear", v6(t, 58, append([]byte{128, 0}, make([]byte, 22)...), r6, r8)},
		{"MLD", "multicast", v6(t, 0, append([]byte{58, 0, 5, 2, 0, 0, 1, 0, 143, 0}, make([]byte, 22)...), r6, "ff02::16")},
		{"ARP", "arp", frame(t, layers.EthernetTypeARP, gopacket.Payload(make([]byte, 28)))},
		{"VLAN", "clear", frame(t, 0x8100, gopacket.Payload(make([]byte, 46)))},
		{"not IP", "other", frame(t, 0x88b5, gopacket.Payload(make([]byte, 46)))},
		{"IP cut short", "short", frame(t, layers.EthernetTypeIPv4, gopacket.Payload{0x45, 0, 0, 9})[:18]},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) { q.countOne(t, protected, c.class, c.frame) })
	}
}

// quiet is a link on which nobody says a word of their own.
type quiet struct{ tx, rx *netlab.NS }

func newQuiet(t *testing.T) quiet {
	t.Helper()
	needRoot(t)
	lab, err := netlab.New("count")
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	var q quiet
	for name, ns := range map[string]**netlab.NS{"tx": &q.tx, "rx": &q.rx} {
		*ns, err = lab.Namespace(name)
		must(t, err)
		must(t, (*ns).Sysctl("net/ipv6/conf/default/disable_ipv6", "1"))
	}
	must(t, lab.Link(netlab.End{NS: q.tx, Name: "tx0"}, netlab.End{NS: q.rx, Name: "rx0"}))
	return q
}

func (q quiet) countOne(t *testing.T, protected []netip.Prefix, class string, frame []byte) {
	const copies = 3
	wire, err := q.rx.Count(protected, "rx0")
	must(t, err)
	defer wire.Close()
	must(t, q.tx.Do(func() error { return sendRaw("tx0", frame, copies) }))
	counts := netlab.Counts{}
	for deadline := time.Now().Add(2 * time.Second); counts.Total.Frames < copies && time.Now().Before(deadline); {
		counts, err = wire.Read()
		must(t, err)
	}
	if want := class + "=3"; counts.String() != want {
		t.Errorf("got %q, want %q", counts, want)
	}
	if got := len(wire.Samples()); class == "clear" && got != copies || class != "clear" && got != 0 {
		t.Errorf("%d samples", got)
	}
}

func sendRaw(iface string, frame []byte, copies int) error {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return os.NewSyscallError("interface", err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for range copies {
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return err
		}
	}
	return nil
}
