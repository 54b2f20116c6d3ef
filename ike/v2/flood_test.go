package v2_test

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// fragmentsOf cuts a message that is too large to be wanted, and leaves out the
// last piece.
func (s *stranger) fragmentsOf(octets int) [][]byte {
	filler := wire.VendorID{Data: make([]byte, octets)}
	list, err := wire.AppendFragments(s.header(wire.ExchangeIKEAuth, 1), []wire.Payload{filler}, s.protect, 1200)
	if err != nil {
		s.w.T.Fatal(err)
	}
	return list[:len(list)-1]
}

// TestFragmentFlood: strangers open IKE SAs and send fragments of messages that
// they never complete. What we remember of all of them together is bounded, and
// a peer that means it gets through once they are gone.
func TestFragmentFlood(t *testing.T) {
	w := visited(t)
	w.Gateways["r8"].Conns[0].Start = session.StartNever
	var before, during runtime.MemStats
	var all []*stranger
	for i := range 480 {
		all = append(all, w.meet(i))
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	sent := 0
	for round := range 2 {
		for _, s := range all {
			for _, data := range s.fragmentsOf(60000 - round) {
				sent += len(data)
				if replies := s.tell(data); len(replies) != 0 {
					t.Fatal("a fragment was answered")
				}
			}
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if grown := int64(during.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
		t.Errorf("%d MiB in fragments made us hold %d MiB", sent>>20, grown>>20)
	}
	runtime.KeepAlive(all)
	w.Run(time.Minute)
	if n := w.HalfOpen(w.Gateways["r8"]); n != 0 {
		t.Errorf("%d half-open IKE SAs are left", n)
	}
	s := w.meet(1000)
	whole, err := wire.AppendFragments(s.header(wire.ExchangeIKEAuth, 1), []wire.Payload{wire.VendorID{Data: make([]byte, 3000)}}, s.protect, 1200)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(whole)
	answered := false
	for _, data := range whole {
		answered = len(s.tell(data)) > 0
	}
	if !answered {
		t.Error("after the flood a whole message in fragments gets no answer")
	}
}

// TestFragmentsOfStrangersSpoilNothing: forged fragments, ones of other messages
// and repeated ones come between those of a genuine request.
func TestFragmentsOfStrangersSpoilNothing(t *testing.T) {
	s := visited(t).meet(1).prove()
	h := s.header(wire.ExchangeInformational, s.next)
	genuine, err := wire.AppendFragments(h, []wire.Payload{wire.VendorID{Data: make([]byte, 4000)}}, s.protect, 600)
	if err != nil {
		t.Fatal(err)
	}
	other := s.header(wire.ExchangeInformational, s.next+1)
	others, err := wire.AppendFragments(other, []wire.Payload{wire.VendorID{Data: make([]byte, 4000)}}, s.protect, 600)
	if err != nil {
		t.Fatal(err)
	}
	answers := 0
	for i, data := range genuine {
		forged := slices.Clone(data)
		forged[len(forged)-1] ^= 1
		if len(s.tell(forged))+len(s.tell(others[i])) != 0 {
			t.Fatal("a fragment of no use was answered")
		}
		answers += len(s.tell(data))
		if i < len(genuine)-1 {
			answers += len(s.tell(data))
		}
	}
	if answers != 1 {
		t.Fatalf("%d answers to one request", answers)
	}
	for i, data := range genuine {
		if n := len(s.tell(data)); (n == 1) != (i == 0) {
			t.Errorf("fragment %d of the repeated request got %d answers (RFC 7383 §2.6.1)", i+1, n)
		}
	}
	smaller, err := wire.AppendFragments(h, []wire.Payload{wire.VendorID{Data: make([]byte, 4000)}}, s.protect, 400)
	if err != nil || len(s.tell(smaller[0])) != 1 || len(s.tell(smaller[1])) != 0 {
		t.Errorf("the request cut smaller is not answered by its first fragment (%v)", err)
	}
}

// FuzzSealed delivers anything under the right keys, half open and established:
// in one message and cut in fragments.
func FuzzSealed(f *testing.F) {
	f.Add(uint8(wire.ExchangeInformational), uint8(wire.PayloadNotify), false, true, []byte{0, 0, 0, 8, 0, 0, 0x40, 0x10})
	f.Add(uint8(wire.ExchangeIKEAuth), uint8(wire.PayloadIDi), true, false, []byte{0, 0, 0, 12, 1, 0, 0, 0, 192, 0, 2, 1})
	f.Add(uint8(wire.ExchangeCreateChildSA), uint8(wire.PayloadSA), true, true, make([]byte, 900))
	f.Add(uint8(wire.ExchangeIKEIntermediate), uint8(wire.PayloadKE), false, false, []byte{0, 0, 0, 8, 0, 31, 0, 0})
	f.Fuzz(func(t *testing.T, exchange, first uint8, cut, established bool, plaintext []byte) {
		if len(plaintext) > 8000 {
			return
		}
		w := visited(t)
		s := w.meet(1)
		if established {
			s.prove()
		}
		h := s.header(wire.ExchangeType(exchange), s.next)
		if !cut {
			s.tell(s.sealOctets(h, wire.PayloadType(first), plaintext))
		} else if whole, err := wire.AppendFragments(h, []wire.Payload{wire.Unknown{Type: wire.PayloadType(first), Data: plaintext}}, s.protect, 300); err == nil {
			for _, data := range whole {
				s.tell(data)
			}
		}
		w.Run(2 * time.Minute)
		g := w.Gateways["r8"]
		if g.SPIs() != len(g.Engine.Status(w.Now).Children) {
			t.Errorf("%d SPIs are held for %d child SAs", g.SPIs(), len(g.Engine.Status(w.Now).Children))
		}
	})
}
