package sadb_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"spindle/sadb"
)

func seeded(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// TestAllocatorAgainstASet: never reserved, never twice, and a slot never comes
// back with the generation it had.
func TestAllocatorAgainstASet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := draw(t, rapid.IntRange(1, sadb.MaxWorkers))
		a := sadb.NewAllocator(workers, seeded(draw(t, rapid.Byte())))
		inUse, last := map[int]sadb.SPI{}, map[int]sadb.SPI{} // by slot
		var order []sadb.SPI
		take := func(spi sadb.SPI) {
			inUse[spi.Slot()], last[spi.Slot()] = spi, spi
			order = append(order, spi)
		}
		t.Repeat(map[string]func(*rapid.T){
			"allocate": func(t *rapid.T) {
				worker := draw(t, rapid.IntRange(-1, workers-1))
				spi, err := a.Allocate(worker)
				if err != nil {
					t.Fatal(err)
				}
				if spi < 256 || spi.Worker() >= workers || worker >= 0 && spi.Worker() != worker {
					t.Fatalf("%v for worker %d of %d", spi, worker, workers)
				}
				if have, ok := inUse[spi.Slot()]; ok {
					t.Fatalf("%v shares its slot with %v", spi, have)
				}
				if was, ok := last[spi.Slot()]; ok && uint8(was) == uint8(spi) {
					t.Fatalf("%v follows %v", spi, was)
				}
				take(spi)
			},
			"reserve": func(t *rapid.T) {
				spi := sadb.NewSPI(draw(t, rapid.IntRange(0, workers-1)), draw(t, rapid.IntRange(1, 40)), draw(t, rapid.Byte()))
				_, taken := inUse[spi.Slot()]
				if err := a.Reserve(spi); (err != nil) != taken {
					t.Fatalf("%v, slot taken %v: %v", spi, taken, err)
				}
				if !taken {
					take(spi)
				}
			},
			"free": func(t *rapid.T) {
				if len(order) == 0 {
					t.Skip("none in use")
				}
				i := draw(t, rapid.IntRange(0, len(order)-1))
				a.Free(order[i])
				a.Free(order[i]) // twice is once
				delete(inUse, order[i].Slot())
				order = append(order[:i], order[i+1:]...)
			},
		})
	})
}

// TestAllocatorFillsUpAndReusesLate uses every slot, then frees some: they come
// back in the order in which they were freed, each with another generation.
func TestAllocatorFillsUpAndReusesLate(t *testing.T) {
	a := sadb.NewAllocator(3, seeded(1))
	reserved := sadb.NewSPI(2, 77, 9)
	if err := a.Reserve(reserved); err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, sadb.MaxSlots)
	seen[0], seen[77] = true, true
	all := []sadb.SPI{reserved}
	for i := range sadb.MaxSlots - 2 {
		spi, err := a.Allocate(-1)
		if err != nil || seen[spi.Slot()] || spi.Worker() != i%3 {
			t.Fatalf("number %d: %v, %v", i, spi, err)
		}
		seen[spi.Slot()] = true
		all = append(all, spi)
	}
	if spi, err := a.Allocate(0); !errors.Is(err, sadb.ErrFull) {
		t.Fatalf("beyond the last slot: %v, %v", spi, err)
	}
	for round := range 4 {
		freed := all[round*500 : round*500+1000]
		for _, spi := range freed {
			a.Free(spi)
		}
		for i, was := range freed {
			spi, err := a.Allocate(1)
			if err != nil || spi.Slot() != was.Slot() || uint8(spi) == uint8(was) {
				t.Fatalf("%v reused as %v, %v", was, spi, err)
			}
			freed[i] = spi
		}
	}
	if _, err := a.Allocate(0); !errors.Is(err, sadb.ErrFull) {
		t.Fatal(err)
	}
}

func TestAllocatorOrderDependsOnTheSeed(t *testing.T) {
	first := map[int]bool{}
	for seed := range 50 {
		spi, err := sadb.NewAllocator(1, seeded(byte(seed))).Allocate(0)
		if err != nil {
			t.Fatal(err)
		}
		first[spi.Slot()] = true
	}
	if len(first) < 45 {
		t.Fatalf("50 seeds start at only %d slots", len(first))
	}
}

type brokenRand struct{}

func (brokenRand) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAllocatorRefuses(t *testing.T) {
	a := sadb.NewAllocator(2, seeded(0))
	for _, spi := range []sadb.SPI{0, 255, sadb.NewSPI(2, 1, 0)} {
		if err := a.Reserve(spi); err == nil {
			t.Errorf("reserved %v", spi)
		}
	}
	if _, err := sadb.NewAllocator(1, brokenRand{}).Allocate(0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// A data path that comes back with more or fewer workers: what is in use stays, and
// new SPIs are those of the workers there are.
func TestResize(t *testing.T) {
	a := sadb.NewAllocator(4, seeded(9))
	var held []sadb.SPI
	for range 8 {
		spi, err := a.Allocate(-1)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, spi)
	}
	for _, workers := range []int{2, 6, 1} {
		a.Resize(workers)
		owners := map[int]bool{}
		for range 2 * workers {
			spi, err := a.Allocate(-1)
			if err != nil || slices.Contains(held, spi) || spi.Worker() >= workers {
				t.Fatalf("%d workers: %v of worker %d, %v", workers, spi, spi.Worker(), err)
			}
			held = append(held, spi)
			owners[spi.Worker()] = true
		}
		if len(owners) != workers {
			t.Errorf("%d of %d workers own new SPIs", len(owners), workers)
		}
		if spi, err := a.Allocate(3*workers + workers/2); err != nil || spi.Worker() != workers/2 {
			t.Errorf("one number is not one owner: %v of worker %d, %v", spi, spi.Worker(), err)
		}
	}
}
