package gcm

import (
	"errors"
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The pool takes so much from the kernel at first, and so much at a time later. One
// mapping per SA would meet vm.max_map_count, and a page per SA would waste five
// sixths of it. Many SAs get pages of 2 MiB, which the kernel aligns such mappings
// to: a key is then not on a page of its own, whose address must be looked up too.
const (
	chunkSize = 256 << 10
	largeSize = 2 << 20
)

// Pool is memory for the keys of many contexts. The zero value is ready. Its
// methods may be called by several goroutines.
type Pool struct {
	Variant Variant // of the contexts; 0: the best that works

	mu     sync.Mutex
	chunks [][]byte
	free   []*material
	used   int
}

// errInUse means that a pool still holds keys somebody may use.
var errInUse = errors.New("contexts are still open")

// take returns cleared memory for one key.
func (p *Pool) take() (*material, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		if err := p.grow(); err != nil {
			return nil, err
		}
	}
	last := len(p.free) - 1
	m := p.free[last]
	p.free = p.free[:last]
	p.used++
	return m, nil
}

// grow maps one more chunk that is never swapped and never dumped. It must be
// locked before the first key is in it, so a refusal is an error.
func (p *Pool) grow() error {
	want := chunkSize
	if len(p.chunks) > 0 {
		want = largeSize
	}
	chunk, err := unix.Mmap(-1, 0, want, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return fmt.Errorf("map key memory: %w", err)
	}
	if want == largeSize {
		_ = unix.Madvise(chunk, unix.MADV_HUGEPAGE) // a wish
	}
	if err := unix.Mlock(chunk); err != nil {
		return errors.Join(fmt.Errorf("lock key memory: %w", err), unix.Munmap(chunk))
	}
	if err := unix.Madvise(chunk, unix.MADV_DONTDUMP); err != nil {
		return errors.Join(fmt.Errorf("keep key memory out of dumps: %w", err), unix.Munmap(chunk))
	}
	p.chunks = append(p.chunks, chunk)
	// Backwards, so that contexts made one after the other lie side by side.
	size := int(unsafe.Sizeof(material{}))
	for at := (len(chunk)/size - 1) * size; at >= 0; at -= size {
		p.free = append(p.free, (*material)(unsafe.Pointer(&chunk[at])))
	}
	return nil
}

// give overwrites a key and keeps its memory for the next.
func (p *Pool) give(m *material) {
	*m = material{}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, m)
	p.used--
}

// Keys is how many contexts are open.
func (p *Pool) Keys() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Close returns the memory to the kernel. With contexts open it refuses and
// changes nothing.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.used > 0 {
		return fmt.Errorf("release key memory: %d of them: %w", p.used, errInUse)
	}
	var errs []error
	for _, chunk := range p.chunks {
		if err := unix.Munmap(chunk); err != nil {
			errs = append(errs, fmt.Errorf("release key memory: %w", err))
		}
	}
	p.chunks, p.free = nil, nil
	return errors.Join(errs...)
}
