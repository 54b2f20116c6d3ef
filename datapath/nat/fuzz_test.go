package nat_test

import (
	"bytes"
	"testing"

	"spindle/datapath/nat"
	"spindle/datapath/packet"
)

// seeds are packets of every kind, both ways.
func seeds(t testing.TB) [][]byte {
	return [][]byte{
		udp(t, host, 5000, remote, 9, 1, 2, 3), tcp(t, host, 5000, remote, 9, "S"), icmp(t, host, remote, 8, 5000), plain(t, host, remote, 47, 1, 2, 3, 4),
		udp(t, remote, 9, outside, 5000, 1, 2, 3), tcp(t, remote, 9, outside, 5000, "SA"), icmp(t, remote, outside, 0, 5000), plain(t, remote, outside, 47, 1, 2),
		failure(t, router, outside, 3, 4, udp(t, outside, 5000, remote, 9, 1, 2, 3)), failure(t, router, outside, 11, 0, icmp(t, outside, remote, 8, 5000)),
		failure(t, host, remote, 3, 3, udp(t, remote, 9, host, 5000)),
		pieces(t, udp(t, remote, 9, outside, 5000, make([]byte, 50)...))[0], pieces(t, udp(t, remote, 9, outside, 5000, make([]byte, 50)...))[1],
	}
}

// TestTruncated cuts every seed everywhere: with its length as it was the parser
// refuses it, with its length made to fit the translator meets it.
func TestTruncated(t *testing.T) {
	for _, whole := range seeds(t) {
		for n := packet.IPv4Len; n < len(whole); n++ {
			b := bytes.Clone(whole[:n])
			b[2], b[3] = byte(n>>8), byte(n)
			packet.SetIPv4Checksum(b)
			bothWays(t, b)
		}
	}
}

// bothWays translates any packet by a table that knows the ends of the seeds, and
// by one without room.
func bothWays(t *testing.T, ip []byte) {
	var h packet.Header
	if h.ParseIP(ip) != packet.Pass {
		return
	}
	ip = ip[:h.Length]
	known, full := table(t, 64), table(t, 1)
	for _, b := range seeds(t)[:4] {
		out(t, known, b, second)
	}
	out(t, full, plain(t, other, remote, 200, 1), second)
	for _, n := range []*nat.Table{known, full} {
		for _, translate := range []func([]byte, *packet.Header, int64) packet.Verdict{n.Outbound, n.Inbound} {
			sound(t, ip, translate)
		}
	}
}

// sound: what was right stays right, nothing grows, what is refused is untouched.
func sound(t *testing.T, ip []byte, translate func([]byte, *packet.Header, int64) packet.Verdict) {
	var before packet.Header
	before.ParseIP(ip)
	valid := packet.ChecksumOK(ip, &before)
	got, v := run(t, translate, ip, second)
	if v != packet.Pass {
		return
	}
	var after packet.Header
	if after.ParseIP(got); after.Src != outside && after.Src != before.Src {
		t.Fatalf("the source became %v", after.Src)
	}
	if packet.ChecksumOK(got, &after) != valid {
		t.Fatalf("the checksum was valid: %v\n%x\n%x", valid, ip, got)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= packet.IPv4Len && int(b[0]&15)*4 <= len(b) && b[0]>>4 == 4 && b[0]&15 >= 5 {
			packet.SetIPv4Checksum(b) // no mutation finds a right one
		}
		bothWays(t, b)
	})
}
