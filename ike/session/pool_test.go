package session_test

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"spindle/ike/session"
)

func ranges(t testing.TB, words ...string) (list []session.AddressRange) {
	t.Helper()
	for i := 0; i < len(words); i += 2 {
		list = append(list, session.AddressRange{First: netip.MustParseAddr(words[i]), Last: netip.MustParseAddr(words[i+1])})
	}
	return list
}

func peer(n int) string { return fmt.Sprintf("peer%d.example", n) }

// TestLeases: what is wanted if it is free, what one had, the next one behind the
// last, and nothing twice.
func TestLeases(t *testing.T) {
	pool := &session.Pool{Ranges: ranges(t, "10.9.0.1", "10.9.0.2", "10.9.9.9", "10.9.9.9", "fd00::1", "fd00::2")}
	l := session.NewLeases()
	take := func(n int, want string, four bool, expect string) {
		t.Helper()
		a, ok := l.Take("t", pool, peer(n), addrOrZero(want), four)
		if got := a.String(); ok && got != expect || ok == (expect == "") {
			t.Errorf("peer %d gets %v, %v, want %q", n, a, ok, expect)
		}
	}
	take(1, "", true, "10.9.0.1")
	take(1, "", false, "fd00::1")
	take(2, "10.9.9.9", true, "10.9.9.9")
	take(3, "10.9.9.9", true, "10.9.0.2")
	take(4, "", true, "")
	take(4, "192.0.2.1", false, "fd00::2")
	take(5, "", false, "")
	l.Release(netip.MustParseAddr("10.9.0.2"))
	l.Release(netip.MustParseAddr("10.9.0.1"))
	take(1, "", true, "10.9.0.1")
	take(6, "", true, "10.9.0.2")
	if list := l.List(); len(list) != 5 || list[0].Address != netip.MustParseAddr("10.9.0.1") || list[0].Client != "peer1.example" {
		t.Errorf("leases %+v", list)
	}
}

// TestLeaseAgain: two ISAKMP SAs of one client hold its address together.
func TestLeaseAgain(t *testing.T) {
	conn := &session.Connection{Name: "t", Pool: &session.Pool{Ranges: ranges(t, "10.9.0.1", "10.9.0.1")}}
	l := session.NewLeases()
	var a netip.Addr
	for range 2 {
		var err error
		if a, err = l.Lease(conn, "carol"); err != nil {
			t.Fatal(err)
		}
	}
	l.Release(a)
	if _, err := l.Lease(conn, "dave"); err == nil {
		t.Error("dave gets the address that carol still has")
	}
	l.Release(a)
	if _, err := l.Lease(conn, "dave"); err != nil {
		t.Error(err)
	}
}

func addrOrZero(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

// TestLeasesAgainstASet: however addresses are taken and freed, no two peers have
// one, all are of the pool, and none is refused while one is free.
func TestLeasesAgainstASet(t *testing.T) {
	pool := &session.Pool{Ranges: ranges(t, "10.9.0.1", "10.9.0.5", "10.9.1.1", "10.9.1.1", "10.9.2.250", "10.9.3.2")}
	const size = 5 + 1 + 9
	rapid.Check(t, func(t *rapid.T) {
		l, held := session.NewLeases(), []netip.Addr{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(t, "release") {
				i := rapid.IntRange(0, len(held)-1).Draw(t, "which")
				l.Release(held[i])
				held = append(held[:i], held[i+1:]...)
				continue
			}
			a, ok := l.Take("t", pool, peer(rapid.IntRange(0, 20).Draw(t, "peer")), netip.Addr{}, true)
			if ok == (len(held) == size) || ok && !pool.Contains(a) {
				t.Fatalf("with %d of %d taken: %v, %v", len(held), size, a, ok)
			}
			for _, h := range held {
				if ok && h == a {
					t.Fatalf("%v is given twice", a)
				}
			}
			if ok {
				held = append(held, a)
			}
		}
	})
}

// TestAssignedIsCounted: an address that two IKE SAs brought stays until both are gone.
func TestAssignedIsCounted(t *testing.T) {
	var out session.Outbox
	as, a := session.Assigned{}, netip.MustParseAddr("10.9.0.1")
	as.Add(&out, a)
	as.Add(&out, a)
	as.Remove(&out, a)
	if list := out.Take(); len(list) != 1 || list[0] != (session.Address{Addr: a}) {
		t.Errorf("%v", list)
	}
	as.Remove(&out, a)
	if list := out.Take(); len(list) != 1 || list[0] != (session.Address{Remove: true, Addr: a}) || len(as) != 0 {
		t.Errorf("%v", list)
	}
}
