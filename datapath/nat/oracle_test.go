package nat_test

import (
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spindle/datapath/packet"
)

// end is an inside host's port of a protocol; for protocols without, the port is 0.
type end struct {
	protocol uint8
	host     netip.Addr
	port     int
}

// dumb is the oracle: a list of mappings, each with the time of its last packet.
type dumb struct {
	bound int
	list  []known
}

type known struct {
	end
	outside int
	used    int64
}

// limits of what the oracle sends: SYNs leave TCP in its opening.
var limits = map[uint8]time.Duration{packet.UDP: 5 * time.Minute, packet.TCP: 4 * time.Minute, packet.ICMP: time.Minute, 47: 5 * time.Minute}

func (d *dumb) age(now int64) {
	kept := d.list[:0]
	for _, m := range d.list {
		if now-m.used < int64(limits[m.protocol]) {
			kept = append(kept, m)
		}
	}
	d.list = kept
}

func (d *dumb) find(match func(*known) bool) *known {
	for i := range d.list {
		if match(&d.list[i]) {
			return &d.list[i]
		}
	}
	return nil
}

// packetOf is a packet of an end: from it to the remote host, or back to it.
func packetOf(t testing.TB, protocol uint8, at netip.Addr, port int, out bool) []byte {
	src, dst, sport, dport := at, remote, port, 9
	if !out {
		src, dst, sport, dport = dst, src, dport, sport
	}
	switch protocol {
	case packet.UDP:
		return udp(t, src, sport, dst, dport, 1, 2, 3)
	case packet.TCP:
		return tcp(t, src, sport, dst, dport, "S")
	case packet.ICMP:
		kind := uint8(0)
		if out {
			kind = 8
		}
		return icmp(t, src, dst, kind, port, 1, 2, 3)
	}
	return plain(t, src, dst, protocol, 1, 2, 3, 4)
}

// TestAgainstTheOracle sends what comes to mind through a table and the oracle.
func TestAgainstTheOracle(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		d := dumb{bound: rapid.IntRange(1, 12).Draw(r, "bound")}
		n, now := table(t, d.bound), second
		for range rapid.IntRange(1, 150).Draw(r, "steps") {
			now += rapid.SampledFrom([]int64{0, 0, 1, 20, 59, 60, 120, 239, 300}).Draw(r, "pause") * second
			d.age(now)
			protocol := rapid.SampledFrom([]uint8{packet.UDP, packet.TCP, packet.ICMP, 47}).Draw(r, "protocol")
			port := rapid.SampledFrom([]int{0, 1, 2, 1023, 1024, 1025, 5000, 65534, 65535}).Draw(r, "port")
			if protocol == 47 || protocol == packet.TCP && port == 0 {
				port = 0
			}
			if rapid.Bool().Draw(r, "outbound") {
				e := end{protocol, netip.AddrFrom4([4]byte{10, 6, 6, rapid.Byte().Draw(r, "host") % 4}), port}
				leaves(r, t, &d, n, e, now)
				continue
			}
			if len(d.list) > 0 && rapid.Bool().Draw(r, "known") {
				m := rapid.SampledFrom(d.list).Draw(r, "mapping")
				protocol, port = m.protocol, m.outside
			}
			got, v := in(t, n, packetOf(t, protocol, outside, port, false), now)
			m := d.find(func(m *known) bool { return m.protocol == protocol && m.outside == port })
			if m == nil {
				refused(t, nil, v, packet.DropNoMapping)
				continue
			}
			m.used = now
			must(t, got, v, packetOf(t, protocol, m.host, m.port, false))
		}
		n.Publish(now)
		if u := n.Usage(); u.TCP+u.UDP+u.ICMP+u.Other != len(d.list) {
			t.Fatalf("%+v, the oracle has %d", u, len(d.list))
		}
	})
}

func leaves(r *rapid.T, t *testing.T, d *dumb, n interface {
	Outbound([]byte, *packet.Header, int64) packet.Verdict
}, e end, now int64) {
	ip := packetOf(t, e.protocol, e.host, e.port, true)
	got, v := run(t, n.Outbound, ip, now)
	if m := d.find(func(m *known) bool { return m.end == e }); m != nil {
		m.used = now
		must(t, got, v, packetOf(t, e.protocol, outside, m.outside, true))
		return
	}
	taken := func(port int) bool {
		return d.find(func(m *known) bool { return m.protocol == e.protocol && m.outside == port }) != nil
	}
	switch {
	case len(d.list) == d.bound:
		refused(t, nil, v, packet.DropMappingsFull)
		return
	case e.protocol == 47 && taken(0):
		refused(t, nil, v, packet.DropUntranslatable)
		return
	}
	port := portOf(t, got, e.protocol)
	if taken(port) || e.port != 0 && !taken(e.port) && port != e.port {
		t.Fatalf("%+v became port %d", e, port)
	}
	must(t, got, v, packetOf(t, e.protocol, outside, port, true))
	d.list = append(d.list, known{e, port, now})
}

// portOf reads what stands for a packet's port on the side of its source.
func portOf(t *testing.T, ip []byte, protocol uint8) int {
	var h packet.Header
	if v := h.ParseIP(ip); v != packet.Pass {
		t.Fatal(v)
	}
	if protocol == packet.ICMP {
		return int(ip[24])<<8 | int(ip[25])
	}
	return int(h.SrcPort)
}
