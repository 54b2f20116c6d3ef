// Package xsk is one AF_XDP socket: a queue of a network device, its UMEM and
// its four rings.
//
// An [Opener] creates, registers and binds the socket: [Asavie] on ordinary pages,
// [HugePages] on 2 MiB pages. Everything after that
// is this package's own engine: it maps the rings again, moves their indices
// with one atomic load and one atomic store per batch, keeps the list of free
// TX frames, and wakes the kernel only when the need-wakeup flag asks for it.
//
// The UMEM has two halves. RX frames live in the fill ring, the RX ring or,
// between Peek and Release, in the worker's hands; TX frames live in the free
// list, the worker's hands or the kernel. No frame ever changes its half, so
// crypto runs out of place, from the RX frame of one socket into the TX frame
// of another.
//
// The package attaches no program and fills no XSKMAP, starts no goroutine,
// takes no lock on a packet's way, and does not panic. A [Socket] belongs to
// one goroutine.
//
// The ring protocol is that of the kernel's net/xdp/xsk_queue.h; the system
// calls are those of Documentation/networking/af_xdp.rst.
package xsk
