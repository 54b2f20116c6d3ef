package xsk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// OpenerFor is the operator's choice of pages for the UMEM, as the configuration
// spells it: "pages" takes ordinary ones, "hugepages" none but 2 MiB pages, and
// "auto" those where the host has some left.
func OpenerFor(umem string) (Opener, error) {
	switch umem {
	case "pages":
		return Asavie{}, nil
	case "hugepages":
		return HugePages{}, nil
	case "auto", "":
		return whicheverPages{}, nil
	}
	return nil, fmt.Errorf("umem %q: want auto, pages or hugepages", umem)
}

// whicheverPages asks for 2 MiB pages and is content without.
type whicheverPages struct{}

func (whicheverPages) Open(c Config) (*Bound, error) {
	b, err := HugePages{}.Open(c)
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
