package sadb_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"spindle/sadb"
)

// site is the /24 of remote site n, and its neighbour the /32s within.
func site(n int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(n)<<8)
	return netip.PrefixFrom(netip.AddrFrom4(b), 24)
}

// concentrator is a database with that many remote sites, an SA pair each.
func concentrator(sites int) (*sadb.DB[sa, sa], []sadb.SPI) {
	db := sadb.NewDB[sa, sa]()
	a := sadb.NewAllocator(4, seeded(1))
	spis := make([]sadb.SPI, sites)
	for n := range sites {
		spi, err := a.Allocate(-1)
		if err != nil {
			panic(err)
		}
		spis[n] = spi
		id := sadb.PolicyID(n + 1)
		db.AddInbound(spi, &sa{n})
		db.BindOutbound(spi, id, &sa{n})
		db.AddPolicy(sadb.Policy{
			ID: id, Priority: 100,
			Local:  []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("172.16.0.0/12"))},
			Remote: []sadb.Selector{sadb.PrefixSelector(site(n))},
		})
	}
	db.AddPolicy(prefixPolicy(sadb.PolicyID(sites+1), 200, "0.0.0.0/0", "0.0.0.0/0"))
	db.Publish()
	return db, spis
}

func flowTo(n int) *sadb.Flow {
	return &sadb.Flow{
		Src: netip.MustParseAddr("172.16.1.1"), Dst: site(n).Addr().Next(), Protocol: 17, SrcPort: 1, DstPort: 2,
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	db, spis := concentrator(1000)
	r := db.Reader()
	out, miss := flowTo(500), flowTo(5000)
	in := &sadb.Flow{Src: out.Dst, Dst: out.Src, Protocol: 17}
	if allocs := testing.AllocsPerRun(100, func() {
		s := r.Enter()
		if s.Inbound(spis[3]) == nil || s.Match(sadb.Outbound, out).Policy.ID != 501 ||
			s.Match(sadb.Inbound, in).Policy.ID != 501 || s.Match(sadb.Outbound, miss).Policy.ID != 1001 {
			t.Fatal("wrong answer")
		}
		r.Leave()
	}); allocs != 0 {
		t.Fatalf("%v allocations", allocs)
	}
}

func BenchmarkPublish(b *testing.B) {
	for _, sites := range []int{1, 1000, 100_000} {
		db, spis := concentrator(sites)
		spi := spis[len(spis)/2]
		change := func(name string, change func()) {
			b.Run(fmt.Sprintf("%s/sas=%d", name, sites), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					change()
					db.Publish()
				}
			})
		}
		out := &sa{1}
		change("inbound", func() { db.AddInbound(spi, &sa{1}) })
		change("rebind", func() { db.BindOutbound(spi, sadb.PolicyID(sites/2+1), out) })
		replaced := prefixPolicy(sadb.PolicyID(sites/2+1), 100, "172.16.0.0/12", site(sites/2).String())
		change("policy", func() { db.AddPolicy(replaced) })
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, sites := range []int{1, 1000, 10_000, 100_000} {
		db, spis := concentrator(sites)
		s := db.Reader().Enter()
		flows := make([]*sadb.Flow, 1024)
		for i := range flows {
			flows[i] = flowTo(i * 7919 % sites)
		}
		b.Run(fmt.Sprintf("outbound/sas=%d", sites), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if s.Match(sadb.Outbound, flows[i&1023]).Outbound == nil {
					b.Fatal("no SA")
				}
			}
		})
		b.Run(fmt.Sprintf("inbound/sas=%d", sites), func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if s.Inbound(spis[i*7919%sites]) == nil {
					b.Fatal("no SA")
				}
			}
		})
	}
}

func BenchmarkEnter(b *testing.B) {
	db, _ := concentrator(1)
	r := db.Reader()
	for b.Loop() {
		r.Enter()
	}
}
