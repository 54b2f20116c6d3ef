package bpf_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"spindle/bpf"
)

// oracle is a dumb second opinion: the documented decisions in plain Go, written
// from the documents and not from steer.bpf.c. It assumes a socket and money.
type oracle struct {
	role     bpf.Role
	locals   []netip.Addr
	prefixes []netip.Prefix
	homes    []netip.Prefix
	spis     []uint32
}

var referenceTables = oracle{bpf.Outside | bpf.Inside, []netip.Addr{local4, local6, host4, host6}, []netip.Prefix{prefix4, prefix6}, []netip.Prefix{home4, home6, ownHome}, []uint32{knownSPI}}

func (o oracle) classify(frame []byte) bpf.Reason {
	group := frame[0]&1 != 0
	if !group && !slices.Equal(frame[:6], ourMAC) {
		return bpf.PassOtherMAC
	}
	rest := frame[12:]
	for tags := 0; ; tags++ {
		if len(rest) < 2 {
			return bpf.PassTruncated
		}
		etherType := binary.BigEndian.Uint16(rest)
		switch {
		case etherType != 0x8100 && etherType != 0x88a8:
			r := o.network(etherType, rest[2:])
			if group && r != bpf.RedirectClear {
				return bpf.PassOtherMAC
			}
			return r
		case tags == 2:
			return bpf.DropVLANDepth
		case len(rest) < 6:
			return bpf.PassTruncated
		}
		rest = rest[4:]
	}
}

func (o oracle) network(etherType uint16, b []byte) bpf.Reason {
	switch etherType {
	case 0x0800:
		return o.ipv4(b)
	case 0x86dd:
		return o.ipv6(b)
	}
	return bpf.PassNotIP
}

func (o oracle) ipv4(b []byte) bpf.Reason {
	if len(b) < 20 {
		return bpf.PassTruncated
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < 20 || total < header {
		return bpf.PassMalformed
	}
	src, dst := netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	if !slices.Contains(o.locals, dst) {
		return o.guard(o.transit(dst, b[8]), src, dst)
	}
	payload := b[min(header, len(b)):max(min(total, len(b)), min(header, len(b)))]
	field := binary.BigEndian.Uint16(b[6:])
	switch {
	case field&0x1fff != 0 && (b[9] == protoESP || b[9] == protoUDP), field&0x3fff == 0x2000 && isOuter(b[9], payload):
		return bpf.PassFragment
	case field&0x3fff != 0:
		return o.guard(bpf.PassFragment, src, dst)
	}
	return o.guard(o.upper(b[9], payload), src, dst)
}

// isOuter is of ESP and IKE.
func isOuter(proto byte, payload []byte) bool {
	if proto != protoUDP || len(payload) < 8 {
		return proto == protoESP
	}
	port := binary.BigEndian.Uint16(payload[2:])
	return port == 500 || port == 4500
}

func (o oracle) ipv6(b []byte) bpf.Reason {
	if len(b) < 40 {
		return bpf.PassTruncated
	}
	if b[0]>>4 != 6 {
		return bpf.PassMalformed
	}
	src, dst := netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	if !slices.Contains(o.locals, dst) {
		return o.guard(o.transit(dst, b[7]), src, dst)
	}
	payload := b[40:]
	payload = payload[:min(int(binary.BigEndian.Uint16(b[4:])), len(payload))]
	proto, rest, r := chain(b[6], payload)
	switch {
	case r != 0:
		return o.guard(r, src, dst)
	case proto == protoFragment && len(rest) < 8:
		return o.guard(bpf.PassTruncated, src, dst)
	case proto == protoFragment && binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0:
		return bpf.PassFragment // the first one is what counts
	case proto == protoFragment:
		if proto, rest, r = chain(rest[0], rest[8:]); r == 0 && isOuter(proto, rest) {
			return bpf.PassFragment
		}
		return o.guard(bpf.PassFragment, src, dst)
	case proto == protoICMPv6 && b[7] == 255 && len(rest) > 0 && rest[0] >= 133 && rest[0] <= 137:
		return bpf.PassLocal // neighbour discovery
	}
	return o.guard(o.upper(proto, rest), src, dst)
}

// chain walks up to four extension headers.
func chain(next byte, b []byte) (byte, []byte, bpf.Reason) {
	for depth := 0; next == protoHopByHop || next == protoRouting || next == protoDestOpts; depth++ {
		switch {
		case depth == 4:
			return next, b, bpf.PassExtension
		case len(b) < 8:
			return next, b, bpf.PassTruncated
		case next == protoRouting && b[3] != 0:
			return next, b, bpf.PassExtension
		}
		size := 8 * (int(b[1]) + 1)
		next, b = b[0], b[min(size, len(b)):]
	}
	return next, b, 0
}

func (o oracle) upper(proto byte, b []byte) bpf.Reason {
	if proto == protoESP {
		return o.esp(b)
	}
	if proto != protoUDP {
		return bpf.PassLocal
	}
	if len(b) < 8 {
		return bpf.PassTruncated
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	switch port := binary.BigEndian.Uint16(b[2:]); {
	case port == 500:
		return bpf.RedirectIKE
	case port != 4500:
		return bpf.PassLocal
	case length < 8:
		return bpf.PassMalformed
	}
	b = b[8:min(length, len(b))]
	if length == 9 && len(b) == 1 && b[0] == 0xff {
		return bpf.DropKeepalive
	}
	if len(b) >= 4 && slices.Equal(b[:4], []byte{0, 0, 0, 0}) {
		return bpf.RedirectIKE
	}
	return o.esp(b)
}

func (o oracle) esp(b []byte) bpf.Reason {
	if len(b) < 4 {
		return bpf.PassTruncated
	}
	if slices.Contains(o.spis, binary.BigEndian.Uint32(b)) {
		return bpf.RedirectESP
	}
	return bpf.RedirectUnknownSPI
}

func (o oracle) transit(dst netip.Addr, hops byte) bpf.Reason {
	switch {
	case o.role&bpf.Inside == 0:
		return bpf.PassNotInside
	case isLinkScope(dst):
		return bpf.PassLinkScope
	case hops <= 1:
		return bpf.PassTTL
	}
	for _, p := range o.prefixes {
		if p.Contains(dst) {
			return bpf.RedirectProtected
		}
	}
	return bpf.PassNoPrefix
}

// guard is N4: what would go to the kernel as it came, from far to near.
func (o oracle) guard(r bpf.Reason, src, dst netip.Addr) bpf.Reason {
	in := func(list []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	if r.Redirected() || r.Dropped() || isLinkScope(dst) {
		return r
	}
	if o.role&bpf.Outside != 0 && in(o.homes, dst) && in(o.prefixes, src) {
		return bpf.RedirectClear
	}
	return r
}

func isLinkScope(a netip.Addr) bool {
	return a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Is6() && a.IsLinkLocalUnicast()
}

func TestOracleAgreesOnTheTable(t *testing.T) {
	for _, b := range slices.Concat(branches, exposed) {
		if got := referenceTables.classify(b.frame); got != b.want {
			t.Errorf("%s: oracle says %s, table %s", b.name, got, b.want)
		}
	}
}

// differ runs a frame through both and complains if they disagree.
func differ(t *testing.T, s *bpf.Steer, frame []byte) bpf.Reason {
	t.Helper()
	want := referenceTables.classify(frame)
	got, reason := steer(t, s, frame)
	if reason != want || got != action(want) {
		t.Fatalf("frame %x: action %d, %s; oracle says %s", frame, got, reason, want)
	}
	return reason
}

func TestDifferentialRandomFrames(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	const seed, rounds = 2, 30000
	rng := rand.New(rand.NewPCG(seed, seed))
	var met [bpf.Reasons]int
	for range rounds {
		met[differ(t, s, randomFrame(rng))]++
	}
	for r := bpf.PassOtherMAC; r < bpf.Reasons; r++ {
		if met[r] == 0 && oracleKnows(r) {
			t.Errorf("%d random frames never met %s: the generator is too tame", rounds, r)
		}
	}
}

func oracleKnows(r bpf.Reason) bool {
	switch r {
	case bpf.PassNotInside, bpf.PassESPNoSocket, bpf.PassIKENoSocket, bpf.PassProtectedNoSocket,
		bpf.DropUnknownSPIBudget, bpf.DropIKEBudget, bpf.DropFailClosed:
		return false
	}
	return true
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// randomFrame is mostly well-formed, then sometimes cut or bent.
func randomFrame(rng *rand.Rand) []byte {
	payload := pick(rng, esp(knownSPI), esp(foreign), esp(rng.Uint32()), be32(0), ike(), []byte{0xff}, nil,
		udp(500, ike()), udp(4500, esp(knownSPI)), udp(4500, esp(foreign)), udp(4500, be32(0)), udp(4500, []byte{0xff}), udp(53, ike()), []byte{136, 0, 0, 0})
	proto := pick[byte](rng, protoESP, protoUDP, protoUDP, protoUDP, protoTCP, protoICMPv6, byte(rng.Uint32()))
	hops := pick[byte](rng, 64, 64, 64, 1, 2, 255)
	var packet []byte
	etherType := pick(rng, 0x0800, 0x86dd)
	if etherType == 0x0800 {
		dst := pick(rng, local4, local4, host4, inside4, transit4, near4, netip.MustParseAddr("239.1.2.3"))
		packet = ipv4(v4{src: pick(rng, srcAddr4, inside4), dst: dst, proto: proto, ttl: hops, options: make([]byte, 4*rng.IntN(11)), frag: pick(rng, 0, 0, 0, 0x4000, 0x2000, 1, 0x2004)}, payload)
	} else {
		dst := pick(rng, local6, local6, host6, inside6, transit6, near6, netip.MustParseAddr("fe80::1"))
		packet = ipv6(v6{src: pick(rng, srcAddr6, inside6), dst: dst, proto: proto, hops: hops, extensions: randomExtensions(rng)}, payload)
	}
	var tags [][]byte
	for range pick(rng, 0, 0, 0, 1, 2, 3) {
		tags = append(tags, pick(rng, tag8021Q, tag8021AD))
	}
	frame := ethernet(pick(rng, ourMAC, ourMAC, ourMAC, ourMAC, peerMAC, everybody), tags, pick(rng, etherType, etherType, etherType, etherType, 0x0806), packet)
	return mutate(rng, frame)
}

func randomExtensions(rng *rand.Rand) []extension {
	var all []extension
	for range pick(rng, 0, 0, 1, 2, 3, 4, 5) {
		e := extension{pick[byte](rng, protoHopByHop, protoRouting, protoDestOpts, protoDestOpts), make([]byte, 6+8*rng.IntN(4))}
		e.data[1] = pick[byte](rng, 0, 0, 0, 0, 1)
		if rng.IntN(8) == 0 {
			e = extension{protoFragment, []byte{0, pick[byte](rng, 0, 1, 8, 9), 0, 0, 0, 9}}
		}
		all = append(all, e)
	}
	return all
}

func mutate(rng *rand.Rand, frame []byte) []byte {
	if rng.IntN(4) == 0 {
		frame = frame[:14+rng.IntN(len(frame)-13)]
	}
	if rng.IntN(4) == 0 {
		frame = cat(frame, make([]byte, rng.IntN(40)))
	}
	if rng.IntN(3) == 0 {
		for range 1 + rng.IntN(3) {
			frame[12+rng.IntN(len(frame)-12)] = byte(rng.Uint32())
		}
	}
	return frame
}

func FuzzSteer(f *testing.F) {
	isolate(f)
	s := gateway(f, generous)
	bind(f, s, loopback, portRow, 0)
	for _, b := range slices.Concat(branches, exposed) {
		f.Add(b.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 14 || len(frame) > 3000 {
			t.Skip("the kernel's test run takes 14 bytes to a page less headroom")
		}
		differ(t, s, frame)
	})
}
