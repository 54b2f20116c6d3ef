package session_test

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/session"
	"spindle/sadb"
)

var midnight = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// TestSchedule plays the default schedule as its comment gives it.
func TestSchedule(t *testing.T) {
	var r session.Retransmission
	if again, dead := r.Step(midnight); again || dead || !r.Due().IsZero() {
		t.Fatal("nothing is outstanding")
	}
	r.Start(midnight, session.DefaultSchedule())
	var sent []float64
	for now := midnight; ; now = r.Due() {
		again, dead := r.Step(now)
		if again {
			sent = append(sent, now.Sub(midnight).Seconds())
		}
		if dead {
			sent = append(sent, now.Sub(midnight).Seconds())
			break
		}
	}
	if diff := cmp.Diff([]float64{0.5, 1.5, 3.5, 7.5, 15.5, 23.5, 31.5}, sent); diff != "" {
		t.Error(diff)
	}
	if r.Sent() != 7 {
		t.Errorf("sent %d times", r.Sent())
	}
	r.Stop()
	if !r.Due().IsZero() {
		t.Error("stopped, and still due")
	}
}

// TestSoftLifetime: between 85 and 95 percent, not always the same, and nothing
// where nothing bounds.
func TestSoftLifetime(t *testing.T) {
	rnd := rand.NewChaCha8([32]byte{})
	hard := sadb.Lifetime{Time: 1000 * time.Second, Bytes: 1 << 36}
	seen := map[time.Duration]bool{}
	for range 1000 {
		soft, err := session.Soft(rnd, hard)
		if err != nil {
			t.Fatal(err)
		}
		seen[soft.Time] = true
		if soft.Time < 850*time.Second || soft.Time > 950*time.Second || soft.Packets != 0 ||
			soft.Bytes < hard.Bytes/100*84 || soft.Bytes > hard.Bytes/100*96 {
			t.Fatalf("soft %+v of hard %+v", soft, hard)
		}
	}
	if len(seen) < 500 {
		t.Errorf("only %d different bounds", len(seen))
	}
	if _, err := session.Soft(bytes.NewReader(nil), hard); err == nil {
		t.Error("no randomness, and no error")
	}
}

func TestIdentity(t *testing.T) {
	for _, c := range []struct {
		id   session.Identity
		want string
	}{
		{session.Identity{Type: session.IDIPv4, Data: []byte{192, 0, 2, 1}}, "192.0.2.1"},
		{session.Identity{Type: session.IDIPv6, Data: netip.MustParseAddr("2001:db8::1").AsSlice()}, "2001:db8::1"},
		{session.Identity{Type: session.IDIPv4, Data: []byte{1, 2}}, "type1:0102"},
		{session.Identity{Type: session.IDFQDN, Data: []byte("r6.example")}, "r6.example"},
		{session.Identity{Type: session.IDRFC822, Data: []byte("ops@r6.example")}, "ops@r6.example"},
		{session.Identity{Type: session.IDKeyID, Data: []byte("group")}, "keyid:group"},
		{session.Identity{Type: session.IDFQDN, Data: []byte("a\nlevel=error forged")}, "610a6c6576656c3d6572726f7220666f72676564"},
		{session.Identity{Type: 77, Data: []byte{0xff}}, "type77:ff"},
	} {
		if got := c.id.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	long := session.Identity{Type: session.IDFQDN, Data: bytes.Repeat([]byte("a"), 60000)}
	if n := len(long.String()); n > 300 {
		t.Errorf("a log line of %d octets", n)
	}
}

// TestSPD follows the entries of one child through a narrowed SA, a rekey of
// it, and a configuration that moves and leaves.
func TestSPD(t *testing.T) {
	var out session.Outbox
	spd := session.NewSPD()
	peer := session.Endpoint{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
	wide := []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.8.0.0/16"))}
	slim := []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("10.8.8.0/24"))}
	conn := &session.Connection{Name: "t", Remote: peer, Children: []session.Child{{Name: "lan", Local: wide, Remote: wide}}}
	child := &conn.Children[0]

	spd.Configure(&out, conn, child, 0)
	conf := onlyPolicy(t, &out)
	if !conf.Acquire || conf.ID == 0 || conf.Conn != "t" || conf.Child != "lan" {
		t.Errorf("configured entry %+v", conf)
	}
	spd.Configure(&out, conn, child, 0)
	if list := out.Take(); len(list) != 0 {
		t.Errorf("nothing changed, and %v is emitted", list)
	}

	whole := spd.Bind(&out, conn, child, wide, wide)
	if whole.Policy.ID != conf.ID || len(out.Take()) != 0 {
		t.Error("a child SA of the configured selectors serves the configured entry")
	}
	narrowed := spd.Bind(&out, conn, child, wide, slim)
	own := onlyPolicy(t, &out)
	if own.ID == conf.ID || own.Priority >= conf.Priority {
		t.Errorf("narrowed entry %+v against %+v", own, conf)
	}
	narrowed.Retain()
	narrowed.Release(&out)
	if len(out.Take()) != 0 {
		t.Error("one child SA still serves the entry")
	}
	narrowed.Release(&out)
	whole.Release(&out)
	if list := out.Take(); len(list) != 1 || !list[0].(session.Policy).Remove || list[0].(session.Policy).Policy.ID != own.ID {
		t.Errorf("the narrowed entry alone goes with its last child SA: %v", list)
	}

	spd.Configure(&out, conn, child, 5)
	if moved := onlyPolicy(t, &out); moved.ID != conf.ID || moved.Priority == conf.Priority {
		t.Errorf("moved entry %+v", moved)
	}
	if _, ok := spd.Lookup(conf.ID); !ok {
		t.Error("entry is not found")
	}
	spd.Remove(&out, "t")
	if list := out.Take(); len(list) != 1 || !list[0].(session.Policy).Remove {
		t.Errorf("the connection left: %v", list)
	}
	if _, ok := spd.Lookup(conf.ID); ok {
		t.Error("entry is still found")
	}
}

// TestSPDAcquire: who may not start asks for nothing.
func TestSPDAcquire(t *testing.T) {
	var out session.Outbox
	all := []sadb.Selector{sadb.PrefixSelector(netip.MustParsePrefix("0.0.0.0/0"))}
	peer := session.Endpoint{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}
	for _, c := range []struct {
		conn session.Connection
		want bool
	}{
		{session.Connection{Remote: peer}, true},
		{session.Connection{Remote: peer, Start: session.StartNow}, true},
		{session.Connection{Remote: peer, Start: session.StartNever}, false},
		{session.Connection{}, false},
	} {
		session.NewSPD().Configure(&out, &c.conn, &session.Child{Local: all, Remote: all}, 0)
		if p := onlyPolicy(t, &out); p.Acquire != c.want {
			t.Errorf("%+v: acquire %v", c.conn, p.Acquire)
		}
	}
}

func onlyPolicy(t *testing.T, out *session.Outbox) sadb.Policy {
	t.Helper()
	list := out.Take()
	if len(list) != 1 {
		t.Fatalf("%d outputs: %v", len(list), list)
	}
	p, ok := list[0].(session.Policy)
	if !ok || p.Remove {
		t.Fatalf("%+v", list[0])
	}
	return p.Policy
}
