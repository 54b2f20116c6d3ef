package sadb

const (
	pageBits = 8
	pageSize = 1 << pageBits
	pageMask = pageSize - 1
)

// paged is an array whose published versions never change. A new version
// shares every page with the one before, except those that were edited.
type paged[T any] struct {
	epoch uint64 // of the version that owns the page list
	pages []*page[T]
}

type page[T any] struct {
	epoch uint64 // of the version that owns the page
	rows  [pageSize]T
}

// at returns row i, nil if it was never edited.
func (p *paged[T]) at(i uint32) *T {
	n := i >> pageBits
	if uint64(n) >= uint64(len(p.pages)) || p.pages[n] == nil {
		return nil
	}
	return &p.pages[n].rows[i&pageMask]
}

// edit returns row i for writing in the version epoch, which must not have
// been published yet. Rows that at returned for older versions keep their value.
func (p *paged[T]) edit(i uint32, epoch uint64) *T {
	n := int(i >> pageBits)
	if p.epoch != epoch || n >= len(p.pages) {
		pages := make([]*page[T], max(len(p.pages), n+1))
		copy(pages, p.pages)
		p.epoch, p.pages = epoch, pages
	}
	switch old := p.pages[n]; {
	case old == nil:
		p.pages[n] = &page[T]{epoch: epoch}
	case old.epoch != epoch:
		p.pages[n] = &page[T]{epoch: epoch, rows: old.rows}
	}
	return &p.pages[n].rows[i&pageMask]
}
