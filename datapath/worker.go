package datapath

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// Port is one network interface of the data path, as one worker sees it.
type Port struct {
	Name            string
	Outside, Inside bool
	RepairChecksum  bool  // its peers leave checksums partial (veth, tap, virtio)
	Queue           Queue // this worker's
}

// SlowPath is where a worker puts what the rings cannot carry. Its methods are
// called by every worker and must not block.
type SlowPath interface {
	// ToHost gives an IP packet to this host's stack, to deliver or to forward.
	ToHost(ip []byte) error
	// SendPacket sends an IP packet, header included, by the kernel's routes.
	SendPacket(ip []byte, dst netip.Addr) error
	// Report tells the control process; false says that the queue is full.
	Report(keysock.Message) bool
}

// Routes is the mirror of the kernel's routes.
type Routes interface{ Table() *fib.Table }

// batch is how many frames are taken from one ring before the next one gets its
// turn: enough to pay for the index updates, small enough to stay in L1.
const batch = 64

// Worker forwards the packets of one RX queue of every port. It is the only one
// to touch those queues and the moving parts of the SAs it owns.
type Worker struct {
	id     int
	ports  []Port
	reader *reader
	routes Routes
	slow   SlowPath

	in    []*handoff // from every producer: workers, then the slow path
	out   []*handoff // to every other worker, nil for itself
	group *Group

	// Loaded once per batch.
	snap  *snapshot
	table *fib.Table
	now   int64 // nanoseconds since 1970, coarse: of the batch, not of the packet

	// Scratch, so that nothing is allocated for a packet.
	outer, inner packet.Header
	flow         sadb.Flow
	frames       [batch][]byte
	buffer       []byte
	hint         int // the port that the last decrypted packet left by

	waiting waiting
	strange strangers
	changed []news // SAs touched since the last publication
	settled int64  // when that was

	counters  [packet.Verdicts]uint64
	published [packet.Verdicts]atomic.Uint64

	sleeping atomic.Bool
	wake     int // eventfd
	fds      []unix.PollFd
}

// Group are the workers of one data path and the rings between them.
type Group struct {
	Workers []*Worker
	host    *handoff // from the tunnel device
	kernel  *handoff // from the kernel's sockets, each of which has a reader
	sockets sync.Mutex
}

// NewGroup makes one worker for each element of ports, which lists the queues
// of worker n in the same order of ports for all.
func NewGroup(ports [][]Port, db *DB, routes Routes, slow SlowPath) (*Group, error) {
	g := &Group{host: newHandoff(), kernel: newHandoff()}
	for id, own := range ports {
		wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("eventfd of worker %d: %w", id, err)
		}
		w := &Worker{
			id: id, ports: own, reader: db.Reader(), routes: routes, slow: slow, group: g,
			out: make([]*handoff, len(ports)), wake: wake, buffer: make([]byte, handoffBytes),
			changed: make([]news, 0, changedSAs), hint: hint(own),
		}
		w.fds = append(w.fds, unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
		for _, p := range own {
			if fd := p.Queue.FD(); fd >= 0 {
				w.fds = append(w.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			}
		}
		g.Workers = append(g.Workers, w)
	}
	g.connect()
	return g, nil
}

// hint is where decrypted packets will most likely go.
func hint(ports []Port) int {
	return max(0, slices.IndexFunc(ports, func(p Port) bool { return p.Inside }))
}

// connect makes a ring for every pair of workers. What the slow path brings in
// enters at worker 0, which hands it to its owner like any other packet.
func (g *Group) connect() {
	for _, from := range g.Workers {
		for _, to := range g.Workers {
			if from != to {
				ring := newHandoff()
				from.out[to.id] = ring
				to.in = append(to.in, ring)
			}
		}
	}
	g.Workers[0].in = append(g.Workers[0].in, g.host, g.kernel)
}

// Close releases what the group holds. The workers must have stopped.
func (g *Group) Close() {
	for _, w := range g.Workers {
		unix.Close(w.wake)
	}
}

// FromHost takes an IP packet that this host sent into the tunnel device, and
// reports false when it has to be dropped. One goroutine may call it.
func (g *Group) FromHost(ip []byte) bool { return g.enter(g.host, fromHost, ip) }

// FromKernel takes an outer IP packet with ESP that came by the kernel's sockets,
// and reports false when it has to be dropped. Any goroutine may call it.
func (g *Group) FromKernel(ip []byte) bool {
	g.sockets.Lock()
	defer g.sockets.Unlock()
	return g.enter(g.kernel, fromKernel, ip)
}

func (g *Group) enter(ring *handoff, o origin, ip []byte) bool {
	ok := ring.push(o, 0, ip)
	g.Workers[0].rouse()
	return ok
}

// Rouse wakes every sleeping worker, so that it looks at the new snapshot.
func (g *Group) Rouse() {
	for _, w := range g.Workers {
		w.rouse()
	}
}

// Run pins the calling goroutine to the CPU (any if negative) and forwards until
// ctx is done. It returns an error when a port is gone.
func (w *Worker) Run(ctx context.Context, cpu int) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the worker
	if cpu >= 0 {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			return fmt.Errorf("pin worker %d to CPU %d: %w", w.id, cpu, err)
		}
	}
	defer context.AfterFunc(ctx, w.rouse)()
	defer w.reader.Leave()
	idle := newIdle()
	for ctx.Err() == nil {
		n, err := w.Poll()
		if err != nil {
			return err
		}
		if idle.spent(n, w.now) {
			w.sleep()
		}
	}
	return nil
}

// Poll does one batch of everything and returns how many packets there were.
func (w *Worker) Poll() (int, error) {
	w.snap = w.reader.Enter()
	w.table = w.routes.Table()
	w.now = time.Now().UnixNano()

	total := w.resume()
	for i := range w.ports {
		p := &w.ports[i]
		n := p.Queue.Peek(w.frames[:])
		for _, frame := range w.frames[:n] {
			w.count(w.fromPort(i, frame, false))
		}
		if n > 0 {
			p.Queue.Release()
		}
		total += n
	}
	for _, ring := range w.in {
		total += w.drain(ring)
	}
	for i := range w.ports {
		if err := w.ports[i].Queue.Flush(); err != nil {
			return total, fmt.Errorf("send on %s: %w", w.ports[i].Name, err)
		}
	}
	w.settle()
	return total, nil
}

// drain takes at most a batch out of a hand-off ring.
func (w *Worker) drain(ring *handoff) (n int) {
	for ; n < batch; n++ {
		m, data, ok := ring.peek()
		if !ok {
			break
		}
		switch m.origin {
		case fromPort:
			w.count(w.fromPort(int(m.port), data, true))
		case fromHost:
			w.count(w.fromHost(data))
		case fromKernel:
			w.count(w.fromKernel(data))
		}
		ring.release()
	}
	return n
}

func (w *Worker) count(v packet.Verdict) { w.counters[v]++ }

// Counters are the packets of this worker by verdict, as last published.
func (w *Worker) Counters() (names []string, values []uint64) {
	for v := range packet.Verdicts {
		names = append(names, v.String())
		values = append(values, w.published[v].Load())
	}
	return names, values
}

// handOff gives a packet to the worker that owns its SA.
func (w *Worker) handOff(owner int, o origin, port int, data []byte) packet.Verdict {
	if owner >= len(w.out) || w.out[owner] == nil || !w.out[owner].push(o, uint8(port), data) {
		return packet.DropHandoffFull
	}
	w.group.Workers[owner].rouse()
	return packet.HandedOff
}

// rouse ends the worker's sleep, or keeps it from beginning. The caller has
// stored what the worker is to see before: sleep looks again after it has
// raised the flag that is read here, so one of the two sees the other.
func (w *Worker) rouse() {
	if w.sleeping.Load() {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(w.wake, one[:]) // fails only when the counter is full, and then it is awake
	}
}
