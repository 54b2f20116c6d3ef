package xsk

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel plays the kernel's side of four rings in ordinary memory, with plain
// index arithmetic of its own.
type Kernel struct {
	l       layout
	RX      []uint64 // frames taken from the fill ring, not yet received into
	TX      []uint64 // frames taken from the TX ring, not yet completed
	TXBytes [][]byte // what they held
	umem    []byte
}

// OverMemory is an engine on rings in ordinary memory, whose indices start
// anywhere, and the other side of them. The TX ring has a slot for every frame.
func OverMemory(frames int, start uint32) (*Socket, *Kernel) {
	return OverSmallTX(frames, frames/2, start)
}

// OverSmallTX is OverMemory with a TX ring of that many slots.
func OverSmallTX(frames, slots int, start uint32) (*Socket, *Kernel) {
	c := Config{RXSize: frames / 2, TXSize: slots, HalfSize: frames / 2, Frames: frames, FrameSize: smallFrame}
	l := plainRings(frames / 2)
	l.tx = plainRings(slots).tx
	l.fill.shared.Store(start)
	l.fill.peer.Store(start)
	l.fill.next, l.fill.published, l.fill.seen = start, start, start
	l.tx.shared.Store(start)
	l.tx.peer.Store(start)
	l.tx.next, l.tx.published, l.tx.seen = start, start, start
	l.rx.shared.Store(start)
	l.rx.peer.Store(start)
	l.rx.next, l.rx.released, l.rx.seen = start, start, start
	l.completion.shared.Store(start)
	l.completion.peer.Store(start)
	l.completion.next, l.completion.released, l.completion.seen = start, start, start
	umem := make([]byte, frames*smallFrame)
	return newSocket(umem, l, c), &Kernel{l: l, umem: umem}
}

// TakeFill consumes the fill ring.
func (k *Kernel) TakeFill() {
	for cons := k.l.fill.peer.Load(); cons != k.l.fill.shared.Load(); cons++ {
		k.RX = append(k.RX, k.l.fill.slots[cons&k.l.fill.mask])
		k.l.fill.peer.Store(cons + 1)
	}
}

// Receive puts a payload into a filled frame, behind the headroom, and reports
// whether there was a frame and a slot for it.
func (k *Kernel) Receive(payload []byte) bool {
	prod := k.l.rx.peer.Load()
	if len(k.RX) == 0 || prod-k.l.rx.shared.Load() > k.l.rx.mask {
		return false
	}
	addr := k.RX[0] + headroom
	k.RX = k.RX[1:]
	copy(k.umem[addr:], payload)
	k.ReceiveAt(addr, uint32(len(payload)))
	return true
}

// ReceiveAt produces an RX descriptor as it is, sane or not.
func (k *Kernel) ReceiveAt(addr uint64, n uint32) {
	prod := k.l.rx.peer.Load()
	k.l.rx.slots[prod&k.l.rx.mask] = unix.XDPDesc{Addr: addr, Len: n}
	k.l.rx.peer.Store(prod + 1)
}

// Send consumes at most n descriptors of the TX ring.
func (k *Kernel) Send(n int) int {
	sent := 0
	for cons := k.l.tx.peer.Load(); sent < n && cons != k.l.tx.shared.Load(); cons++ {
		d := k.l.tx.slots[cons&k.l.tx.mask]
		k.TX = append(k.TX, d.Addr)
		k.TXBytes = append(k.TXBytes, append([]byte(nil), k.umem[d.Addr:d.Addr+uint64(d.Len)]...))
		k.l.tx.peer.Store(cons + 1)
		sent++
	}
	return sent
}

// Complete gives the i-th frame being sent back, as drivers complete out of
// order, and reports whether there was a slot for it.
func (k *Kernel) Complete(i int) bool {
	addr := k.TX[i]
	k.TX = append(k.TX[:i], k.TX[i+1:]...)
	return k.CompleteAddr(addr)
}

// CompleteAddr produces a completion as it is, sane or not.
func (k *Kernel) CompleteAddr(addr uint64) bool {
	prod := k.l.completion.peer.Load()
	if prod-k.l.completion.shared.Load() > k.l.completion.mask {
		return false
	}
	k.l.completion.slots[prod&k.l.completion.mask] = addr
	k.l.completion.peer.Store(prod + 1)
	return true
}

// Indices are the four words that our side owns.
func (k *Kernel) Indices() (fill, rx, tx, completion uint32) {
	return k.l.fill.shared.Load(), k.l.rx.shared.Load(), k.l.tx.shared.Load(), k.l.completion.shared.Load()
}

// Free is how many TX frames are neither lent nor with the kernel.
func (s *Socket) Free() int { return len(s.free) }

// InFlight is how many TX frames the kernel has.
func (s *Socket) InFlight() int { return int(s.inFlight) }

func (s *Socket) Settle(errno syscall.Errno) error { s.settle(errno); return s.fault }

func (s *Socket) Counts() Counts { return s.counts }

// Sizes exposes how options become a configuration, for a device of that MTU.
func (o Options) Sizes(mtu int) (Config, error) {
	var c Config
	err := o.sizes(&c)
	if err == nil {
		c.FrameSize, err = frameSizeFor(mtu, o.FrameSize)
	}
	return c, err
}

// Base is the address of the UMEM.
func (k *Kernel) Base() uintptr { return uintptr(unsafe.Pointer(&k.umem[0])) }

// Bounce receives into n filled frames and completes everything submitted,
// without looking at any byte: the cheapest kernel, for benches.
func (k *Kernel) Bounce(n uint32) {
	rx, fill := k.l.rx.peer.Load(), k.l.fill.peer.Load()
	for i := range n {
		k.l.rx.slots[(rx+i)&k.l.rx.mask] = unix.XDPDesc{Addr: k.l.fill.slots[(fill+i)&k.l.fill.mask] + headroom, Len: 64}
	}
	k.l.rx.peer.Store(rx + n)
	k.l.fill.peer.Store(fill + n)
	tx, done := k.l.tx.peer.Load(), k.l.completion.peer.Load()
	sent := k.l.tx.shared.Load() - tx
	for i := range sent {
		k.l.completion.slots[(done+i)&k.l.completion.mask] = k.l.tx.slots[(tx+i)&k.l.tx.mask].Addr
	}
	k.l.tx.peer.Store(tx + sent)
	k.l.completion.peer.Store(done + sent)
}
