package xsk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// OpenerFor is the operator's choice of pages for the UMEM, as the configuration
// spells it: "pages" takes ordinary ones, "hugepages" none but 2 MiB pages, and
// "auto" those where the host has some left.
func OpenerFor(umem string) (Opener, error) {
	switch umem {
	case "pages":
		return Asavie{}, nil
	case "hugepages":
		return newPatient(), nil
	case "auto", "":
		return whicheverPages{newPatient()}, nil
	}
	return nil, fmt.Errorf("umem %q: want auto, pages or hugepages", umem)
}

// lingering is how long the pages of a gateway that has just ended may be on their
// way back: the kernel lets go of a UMEM after an RCU grace period, from a work queue
// (xdp_put_umem in net/xdp/xdp_umem.c). Tens of milliseconds were seen.
const lingering = 250 * time.Millisecond

// patient is HugePages for a gateway that starts: one that takes the place of another
// does not do without the other's pages, or refuse, for being quick. All its queues
// together wait no longer than lingering.
type patient struct{ until time.Time }

func newPatient() patient { return patient{time.Now().Add(lingering)} }

func (p patient) Open(c Config) (*Bound, error) {
	for {
		b, err := HugePages{}.Open(c)
		none := (*NoHugePagesError)(nil)
		if !errors.As(err, &none) || none.Denied || none.Reserved < none.Want || time.Now().After(p.until) {
			return b, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// whicheverPages asks for 2 MiB pages and is content without.
type whicheverPages struct{ patient }

func (w whicheverPages) Open(c Config) (*Bound, error) {
	b, err := w.patient.Open(c)
	if none := (*NoHugePagesError)(nil); errors.As(err, &none) {
		return Asavie{}.Open(c)
	}
	return b, err
}

// Pages says what pages the frames of some sockets lie on: "2 MiB pages", "4 KiB
// pages", or both, when the host ran out between two of them.
func Pages(sockets []*Socket) string {
	var sizes []int
	for _, s := range sockets {
		sizes = append(sizes, s.pageSize)
	}
	slices.Sort(sizes)
	var names []string
	for _, size := range slices.Compact(sizes) {
		if size >= 1<<20 {
			names = append(names, fmt.Sprintf("%d MiB", size>>20))
		} else {
			names = append(names, fmt.Sprintf("%d KiB", size>>10))
		}
	}
	return strings.Join(names, " and ") + " pages"
}
