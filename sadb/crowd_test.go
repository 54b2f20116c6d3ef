package sadb_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"spindle/sadb"
)

// likeness is a way in which ten thousand policies with one remote prefix differ.
type likeness struct {
	name   string
	policy func(n int) (local, remote string)
	flow   func(n int) sadb.Flow // that policy n takes, outbound
}

func hostOf(n int) string { return fmt.Sprintf("10.%d.%d.6", 1+n/256, n%256) }

func tcpFlow(src string, srcPort, dstPort int) sadb.Flow {
	return sadb.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr("172.16.8.8"), Protocol: 6, SrcPort: uint16(srcPort), DstPort: uint16(dstPort)}
}

var likenesses = []likeness{
	{"local hosts", func(n int) (string, string) { return hostOf(n) + "/32", "172.16.0.0/12" },
		func(n int) sadb.Flow { return tcpFlow(hostOf(n), 1, 2) }},
	{"local ranges", func(n int) (string, string) {
		return fmt.Sprintf("10.%d.%d.3-10.%d.%d.9", 1+n/256, n%256, 1+n/256, n%256), "172.16.0.0/12"
	}, func(n int) sadb.Flow { return tcpFlow(hostOf(n), 1, 2) }},
	{"remote ports", func(n int) (string, string) { return "10.6.0.0/16", fmt.Sprintf("172.16.0.0/12[tcp/%d]", 1+n) },
		func(n int) sadb.Flow { return tcpFlow("10.6.6.6", 9, 1+n) }},
	{"local ports", func(n int) (string, string) { return fmt.Sprintf("10.6.0.0/16[tcp/%d]", 1+n), "172.16.0.0/12[tcp]" },
		func(n int) sadb.Flow { return tcpFlow("10.6.6.6", 1+n, 9) }},
	{"ranges of remote ports", func(n int) (string, string) {
		return "10.6.0.0/16", fmt.Sprintf("172.16.0.0/12[tcp/%d-%d]", 6*n+1, 6*n+5)
	}, func(n int) sadb.Flow { return tcpFlow("10.6.6.6", 9, 6*n+4) }},
	{"local ports to one service", func(n int) (string, string) {
		return fmt.Sprintf("10.6.0.0/16[tcp/%d]", 1+n), "172.16.0.0/12[tcp/443]"
	}, func(n int) sadb.Flow { return tcpFlow("10.6.6.6", 1+n, 443) }},
	{"hosts and services", func(n int) (string, string) {
		return hostOf(n/10) + "/32", fmt.Sprintf("172.16.0.0/12[tcp/%d-%d]", 100*(n%10), 100*(n%10)+99)
	}, func(n int) sadb.Flow { return tcpFlow(hostOf(n/10), 9, 100*(n%10)+50) }},
}

func crowdOf(t testing.TB, l likeness, n int) *sadb.DB[sa, sa] {
	t.Helper()
	db := sadb.NewDB[sa, sa]()
	for i := range n {
		local, remote := l.policy(i)
		db.AddPolicy(sadb.Policy{ID: sadb.PolicyID(i + 1), Priority: 100, Local: selected(t, local), Remote: selected(t, remote)})
	}
	db.Publish()
	return db
}

func selected(t testing.TB, text string) []sadb.Selector {
	t.Helper()
	s, err := sadb.ParseSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return []sadb.Selector{s}
}

// TestTenThousandPoliciesOfOnePrefix: a lookup compares a handful of them, finds the
// right one, and allocates nothing.
func TestTenThousandPoliciesOfOnePrefix(t *testing.T) {
	const many = 10_000
	for _, l := range likenesses {
		t.Run(l.name, func(t *testing.T) {
			db := crowdOf(t, l, many)
			if n := db.LongestList(); n > 16 {
				t.Errorf("up to %d entries are compared one by one", n)
			}
			s := db.Reader().Enter()
			for n := 0; n < many; n += 97 {
				f := l.flow(n)
				if e := s.Match(sadb.Outbound, &f); e == nil || e.Policy.ID != sadb.PolicyID(n+1) {
					t.Fatalf("%v: %+v, want policy %d", f, e, n+1)
				}
			}
			f := l.flow(many / 2)
			if n := testing.AllocsPerRun(100, func() { s.Match(sadb.Outbound, &f) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// TestCrowdAgainstOrderedList: many entries that overlap, in random order of priority,
// come and go; a list that is searched from the top says what is right.
func TestCrowdAgainstOrderedList(t *testing.T) {
	const seed, rounds = 5, 600
	rng := rand.New(rand.NewPCG(seed, seed))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	ports := func() string {
		switch rng.IntN(6) {
		case 0:
			return ""
		case 1:
			return pick("[tcp]", "[udp]", "[icmp/8]", "[icmp]", "[47]")
		case 2:
			return pick("[tcp/opaque]", "[udp/opaque]", "[tcp/0-100]", "[tcp/1-65535]")
		case 3:
			low := rng.IntN(60)
			return fmt.Sprintf("[%s/%d-%d]", pick("tcp", "udp"), low, low+rng.IntN(20))
		}
		return fmt.Sprintf("[%s/%d]", pick("tcp", "udp"), rng.IntN(60))
	}
	side := func(addresses ...string) (list []sadb.Selector) {
		for range 1 + rng.IntN(2) {
			list = append(list, selected(t, pick(addresses...)+ports())...)
		}
		return list
	}
	db, now := sadb.NewDB[sa, sa](), (&model{}).clone()
	for round := range rounds {
		if id := sadb.PolicyID(1 + rng.IntN(300)); rng.IntN(4) == 0 {
			db.DeletePolicy(id)
			delete(now.policies, id)
		} else {
			p := sadb.Policy{ID: id, Priority: rng.Uint32N(50),
				Local:  side("10.0.0.0/8", "10.6.0.0/16", "10.6.6.0/24", "10.6.6.6/32", "10.6.6.3-10.6.6.20", "2001:db8:6::/48", "0.0.0.0/0"),
				Remote: side("10.8.0.0/16", "10.8.0.0/16", "10.8.8.8/32", "2001:db8:8::/48")}
			db.AddPolicy(p)
			now.policies[id] = p
		}
		if round%10 != 9 {
			continue
		}
		db.Publish()
		s := db.Reader().Enter()
		for range 100 {
			f := sadb.Flow{
				Src: netip.MustParseAddr(pick("10.6.6.6", "10.6.6.4", "10.6.1.1", "10.1.1.1", "2001:db8:6::6")), Dst: netip.MustParseAddr(pick("10.8.8.8", "10.8.1.1", "2001:db8:8::8")),
				Protocol: []uint8{1, 6, 17, 47}[rng.IntN(4)], SrcPort: uint16(rng.IntN(70)), DstPort: uint16(rng.IntN(70)),
			}
			dir := sadb.Outbound
			if rng.IntN(2) == 0 {
				dir, f.Src, f.Dst, f.SrcPort, f.DstPort = sadb.Inbound, f.Dst, f.Src, f.DstPort, f.SrcPort
			}
			want, _ := now.match(dir, f)
			var got sadb.PolicyID
			if e := s.Match(dir, &f); e != nil {
				got = e.Policy.ID
			}
			if got != want {
				t.Fatalf("seed %d, round %d, %d policies: %v %v: policy %d, want %d", seed, round, len(now.policies), dir, f, got, want)
			}
		}
	}
}

// A crowd that is left by all leaves nothing behind.
func TestCrowdDissolves(t *testing.T) {
	const many = 100
	for _, l := range likenesses {
		db := crowdOf(t, l, many)
		for n := range many {
			db.DeletePolicy(sadb.PolicyID(n + 1))
		}
		db.Publish()
		f := l.flow(3)
		if e := db.Reader().Enter().Match(sadb.Outbound, &f); e != nil || db.LongestList() != 0 {
			t.Errorf("%s: %+v is left, lists of %d", l.name, e, db.LongestList())
		}
	}
}

func BenchmarkMatchInCrowd(b *testing.B) {
	for _, l := range likenesses {
		for _, n := range []int{10, 10_000} {
			s := crowdOf(b, l, n).Reader().Enter()
			flows := make([]sadb.Flow, 64)
			for i := range flows {
				flows[i] = l.flow(i * 7919 % n)
			}
			b.Run(fmt.Sprintf("%s/policies=%d", l.name, n), func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					if s.Match(sadb.Outbound, &flows[i&63]) == nil {
						b.Fatal("no policy")
					}
				}
			})
		}
	}
}
