package sadb_test

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"spindle/sadb"
)

// sa stands for what the data path keeps for an SA.
type sa struct{ name int }

// model is the dumb database: a list of policies and maps.
type model struct {
	policies map[sadb.PolicyID]sadb.Policy
	inbound  map[sadb.SPI]*sa
	bound    map[sadb.PolicyID][]sadb.SPI // oldest first
	outbound map[sadb.SPI]*sa
}

func (m *model) clone() model {
	c := model{map[sadb.PolicyID]sadb.Policy{}, map[sadb.SPI]*sa{}, map[sadb.PolicyID][]sadb.SPI{}, map[sadb.SPI]*sa{}}
	for k, v := range m.policies {
		c.policies[k] = v
	}
	for k, v := range m.inbound {
		c.inbound[k] = v
	}
	for k, v := range m.bound {
		c.bound[k] = slices.Clone(v)
	}
	for k, v := range m.outbound {
		c.outbound[k] = v
	}
	return c
}

// match walks the whole SPD in order.
func (m *model) match(dir sadb.Direction, f sadb.Flow) (sadb.PolicyID, *sa) {
	var list []sadb.Policy
	for _, p := range m.policies {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b sadb.Policy) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.ID, b.ID))
	})
	local, remote := probe{f.Src, f.Protocol, f.SrcPort}, probe{f.Dst, f.Protocol, f.DstPort}
	if dir == sadb.Inbound {
		local, remote = remote, local
	}
	for _, p := range list {
		in := func(list []sadb.Selector, what probe) bool {
			return slices.ContainsFunc(list, func(s sadb.Selector) bool { return oracle(s, what) })
		}
		if in(p.Local, local) && in(p.Remote, remote) {
			var out *sa
			if pairs := m.bound[p.ID]; len(pairs) > 0 {
				out = m.outbound[pairs[len(pairs)-1]]
			}
			return p.ID, out
		}
	}
	return 0, nil
}

// check compares a snapshot with the model it was published from.
func (m *model) check(t *rapid.T, s *sadb.Snapshot[sa, sa]) {
	for range 20 {
		f := sadb.Flow{
			Src: smallAddr(drawBase(t), draw(t, rapid.IntRange(0, 15))), Dst: smallAddr(drawBase(t), draw(t, rapid.IntRange(0, 15))),
			Protocol: draw(t, rapid.SampledFrom([]uint8{1, 6, 17})),
			SrcPort:  draw(t, rapid.Uint16Range(0, 4)), DstPort: draw(t, rapid.Uint16Range(0, 4)),
		}
		dir := draw(t, rapid.SampledFrom([]sadb.Direction{sadb.Inbound, sadb.Outbound}))
		id, out := m.match(dir, f)
		got := s.Match(dir, &f)
		switch {
		case got == nil && id != 0:
			t.Fatalf("%v %v: nothing, want policy %d", dir, f, id)
		case got != nil && (got.Policy.ID != id || got.Outbound != out):
			t.Fatalf("%v %v: policy %d with %v, want %d with %v", dir, f, got.Policy.ID, got.Outbound, id, out)
		}
	}
	for slot := 1; slot < 12; slot++ {
		for generation := range 3 {
			spi := sadb.NewSPI(slot%2, slot, uint8(generation))
			if got := s.Inbound(spi); got != m.inbound[spi] {
				t.Fatalf("inbound %v: %v, want %v", spi, got, m.inbound[spi])
			}
		}
	}
}

func drawPolicy(t *rapid.T) sadb.Policy {
	selectors := rapid.SliceOfN(rapid.Custom(drawSelector), 0, 3)
	return sadb.Policy{
		ID:       sadb.PolicyID(draw(t, rapid.IntRange(1, 20))),
		Priority: draw(t, rapid.Uint32Range(0, 3)),
		Local:    draw(t, selectors),
		Remote:   draw(t, selectors),
	}
}

// TestDBAgainstOracle makes random changes, publishes now and then, and checks
// the newest snapshot and one of the old ones, which must not have moved.
func TestDBAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		db := sadb.NewDB[sa, sa]()
		now := (&model{}).clone()
		old, oldModel := db.Reader().Enter(), now.clone()
		name := 0
		spi := func(t *rapid.T) sadb.SPI {
			slot := draw(t, rapid.IntRange(1, 11))
			return sadb.NewSPI(slot%2, slot, uint8(draw(t, rapid.IntRange(0, 2))))
		}
		unbind := func(pair sadb.SPI) {
			for id, pairs := range now.bound {
				now.bound[id] = slices.DeleteFunc(pairs, func(p sadb.SPI) bool { return p == pair })
			}
			delete(now.outbound, pair)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add policy": func(t *rapid.T) {
				p := drawPolicy(t)
				db.AddPolicy(p)
				now.policies[p.ID] = p
			},
			"delete policy": func(t *rapid.T) {
				id := sadb.PolicyID(draw(t, rapid.IntRange(1, 20)))
				db.DeletePolicy(id)
				delete(now.policies, id)
			},
			"add inbound": func(t *rapid.T) {
				name++
				in, at := &sa{name}, spi(t)
				db.AddInbound(at, in)
				for have := range now.inbound {
					if have.Slot() == at.Slot() {
						delete(now.inbound, have)
					}
				}
				now.inbound[at] = in
			},
			"delete inbound": func(t *rapid.T) {
				at := spi(t)
				if got := db.DeleteInbound(at); got != now.inbound[at] {
					t.Fatalf("deleted %v, want %v", got, now.inbound[at])
				}
				delete(now.inbound, at)
			},
			"bind outbound": func(t *rapid.T) {
				name++
				out, pair, id := &sa{name}, spi(t), sadb.PolicyID(draw(t, rapid.IntRange(1, 20)))
				db.BindOutbound(pair, id, out)
				unbind(pair)
				now.outbound[pair] = out
				now.bound[id] = append(now.bound[id], pair)
			},
			"delete outbound": func(t *rapid.T) {
				pair := spi(t)
				if got := db.DeleteOutbound(pair); got != now.outbound[pair] {
					t.Fatalf("deleted %v, want %v", got, now.outbound[pair])
				}
				unbind(pair)
			},
			"publish": func(t *rapid.T) {
				db.Publish()
				newest := db.Reader().Enter()
				now.check(t, newest)
				oldModel.check(t, old)
				if draw(t, rapid.Bool()) {
					old, oldModel = newest, now.clone()
				}
			},
			"list": func(t *rapid.T) {
				in, out, policies := 0, 0, 0
				for at, have := range db.Inbounds() {
					if in++; now.inbound[at] != have {
						t.Fatalf("lists %v for %v", have, at)
					}
				}
				for pair, have := range db.Outbounds() {
					if out++; now.outbound[pair] != have {
						t.Fatalf("lists %v for %v", have, pair)
					}
				}
				for range db.Policies() {
					policies++
				}
				if in != len(now.inbound) || out != len(now.outbound) || policies != len(now.policies) {
					t.Fatalf("lists %d, %d, %d", in, out, policies)
				}
			},
		})
	})
}

func prefixPolicy(id sadb.PolicyID, priority uint32, local, remote string) sadb.Policy {
	return sadb.Policy{
		ID: id, Priority: priority,
		Local:  []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix(local))},
		Remote: []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix(remote))},
	}
}

// TestShorterPrefixWinsByPriority: the SPD is ordered, not a routing table.
func TestShorterPrefixWinsByPriority(t *testing.T) {
	db := sadb.NewDB[sa, sa]()
	db.AddPolicy(prefixPolicy(1, 20, "10.6.0.0/16", "10.8.8.8/32"))
	db.AddPolicy(prefixPolicy(2, 10, "10.6.6.6/32", "10.0.0.0/8"))
	db.AddPolicy(prefixPolicy(3, 30, "0.0.0.0/0", "0.0.0.0/0"))
	db.Publish()
	s := db.Reader().Enter()
	for _, c := range []struct {
		src, dst string
		want     sadb.PolicyID
	}{
		{"10.6.6.6", "10.8.8.8", 2},
		{"10.6.6.7", "10.8.8.8", 1},
		{"10.7.0.1", "10.8.8.8", 3},
	} {
		f := sadb.Flow{Src: netip.MustParseAddr(c.src), Dst: netip.MustParseAddr(c.dst), Protocol: 17}
		if got := s.Match(sadb.Outbound, &f); got.Policy.ID != c.want {
			t.Errorf("%v: policy %d, want %d", f, got.Policy.ID, c.want)
		}
		f.Src, f.Dst = f.Dst, f.Src
		if got := s.Match(sadb.Inbound, &f); got.Policy.ID != c.want {
			t.Errorf("in the clear, %v: policy %d, want %d", f, got.Policy.ID, c.want)
		}
	}
}

// TestRekeyOrder: the new outbound SA takes over; deleting the old one changes
// nothing; deleting the one in use falls back to one that still stands.
func TestRekeyOrder(t *testing.T) {
	db := sadb.NewDB[sa, sa]()
	first, second := &sa{1}, &sa{2}
	flow := sadb.Flow{Src: netip.MustParseAddr("10.6.6.6"), Dst: netip.MustParseAddr("10.8.8.8")}
	r := db.Reader()
	want := func(step string, want *sa) {
		t.Helper()
		db.Publish()
		if got := r.Enter().Match(sadb.Outbound, &flow).Outbound; got != want {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	db.BindOutbound(0x100, 1, first)
	db.AddPolicy(prefixPolicy(1, 1, "10.6.6.6/32", "10.8.8.8/32"))
	want("an SA bound before its policy came", first)
	db.BindOutbound(0x200, 1, second)
	want("rekeyed", second)
	db.AddPolicy(prefixPolicy(1, 7, "10.6.6.6/32", "10.8.8.0/24"))
	want("policy replaced", second)
	db.DeleteOutbound(0x200)
	want("the new one deleted", first)
	db.BindOutbound(0x200, 1, second)
	db.DeleteOutbound(0x100)
	want("the old one deleted", second)
	db.DeleteOutbound(0x200)
	want("both deleted", nil)
}

func TestRetireWaitsForReaders(t *testing.T) {
	db := sadb.NewDB[sa, sa]()
	db.AddInbound(0x100, &sa{1})
	db.Publish()
	busy, idle, gone := db.Reader(), db.Reader(), db.Reader()
	busy.Enter()
	idle.Enter()
	idle.Leave()
	gone.Enter()
	gone.Close()

	wiped := false
	db.DeleteInbound(0x100)
	db.Retire(func() { wiped = true })
	if wiped {
		t.Fatal("wiped before it was published")
	}
	epoch := db.Publish()
	if again := db.Publish(); again != epoch {
		t.Fatalf("an empty publish made epoch %d of %d", again, epoch)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if err := db.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || wiped {
		t.Fatalf("a reader is still there: %v, wiped %v", err, wiped)
	}
	if s := busy.Enter(); s.Epoch() != epoch || s.Inbound(0x100) != nil {
		t.Fatalf("epoch %d, want %d", s.Epoch(), epoch)
	}
	if err := db.Wait(t.Context()); err != nil || !wiped {
		t.Fatalf("%v, wiped %v", err, wiped)
	}
	db.Retire(func() { wiped = false })
	if wiped {
		t.Fatal("nothing was changed and nobody is behind: nothing to wait for")
	}
}

func TestInboundComparesTheWholeSPI(t *testing.T) {
	db := sadb.NewDB[sa, sa]()
	spi := sadb.NewSPI(3, 70000, 5)
	db.AddInbound(spi, &sa{1})
	db.Publish()
	s := db.Reader().Enter()
	for _, other := range []sadb.SPI{0, 1, 255, spi ^ 1, spi ^ 1<<26, spi ^ 1<<8, 0xffffffff} {
		if s.Inbound(other) != nil {
			t.Errorf("%v found the SA of %v", other, spi)
		}
	}
	if s.Inbound(spi) == nil {
		t.Error("not found")
	}
}
