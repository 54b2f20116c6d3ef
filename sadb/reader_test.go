package sadb_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"spindle/sadb"
)

// guarded is an SA whose wiping is a plain write: the race detector sees a
// reader that is still there.
type guarded struct{ wiped bool }

// TestNoReaderSeesAWipedSA: readers come, go and sleep while the writer
// replaces SAs and policies as fast as it can.
func TestNoReaderSeesAWipedSA(t *testing.T) {
	db := sadb.NewDB[guarded, guarded]()
	flow := &sadb.Flow{Src: base4, Dst: base4, Protocol: 17}
	policy := prefixPolicy(1, 1, "10.0.0.0/8", "10.0.0.0/8")
	db.AddPolicy(policy)
	spi := func(i int) sadb.SPI { return sadb.NewSPI(0, 1+i%600, uint8(i/600)) }

	var stop atomic.Bool
	var group sync.WaitGroup
	for n := range 3 {
		r := db.Reader()
		group.Go(func() {
			defer r.Close()
			for i := 0; !stop.Load(); i++ {
				s := r.Enter()
				for k := range 20 {
					if in := s.Inbound(spi(i + k)); in != nil && in.wiped {
						t.Error("inbound SA used after it was wiped")
						return
					}
				}
				if e := s.Match(sadb.Outbound, flow); e != nil && e.Outbound != nil && e.Outbound.wiped {
					t.Error("outbound SA used after it was wiped")
					return
				}
				if (i+n)%7 == 0 {
					r.Leave()
					runtime.Gosched()
				}
			}
		})
	}

	wiped := 0
	for i, end := 0, time.Now().Add(2*time.Second); time.Now().Before(end); i++ {
		db.AddInbound(spi(i), &guarded{})
		db.BindOutbound(spi(i), 1, &guarded{})
		if i%5 == 0 {
			db.AddPolicy(policy)
		}
		if i >= 3 {
			in, out := db.DeleteInbound(spi(i-3)), db.DeleteOutbound(spi(i-3))
			db.Retire(func() { in.wiped, out.wiped = true, true; wiped++ })
		}
		db.Publish()
		if i%50 == 0 {
			if err := db.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	stop.Store(true)
	group.Wait()
	if err := db.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if wiped < 100 {
		t.Errorf("only %d SAs were replaced", wiped)
	}
}

// TestWaitMeansSeen: what an Ack promises.
func TestWaitMeansSeen(t *testing.T) {
	db := sadb.NewDB[sa, sa]()
	var seen atomic.Uint64
	var stop atomic.Bool
	r := db.Reader()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			seen.Store(r.Enter().Epoch())
			runtime.Gosched()
		}
	}()
	r2 := db.Reader() // sleeps, and holds nobody up
	r2.Enter()
	r2.Leave()
	for slot := 1; slot <= 200; slot++ {
		db.AddInbound(sadb.NewSPI(0, slot, 0), &sa{slot})
		epoch := db.Publish()
		if err := db.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		// The reader notes the epoch a moment after it has entered it.
		if at := seen.Load(); at+1 < epoch && at != 0 {
			t.Fatalf("acknowledged epoch %d while a worker was at %d", epoch, at)
		}
	}
	stop.Store(true)
	<-done
}
