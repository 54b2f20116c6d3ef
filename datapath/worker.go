package datapath

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/fib"
	"spindle/datapath/nat"
	"spindle/datapath/packet"
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
	era   uint64 // counts the tables
	near  near   // of this one
	now   int64  // nanoseconds since 1970, coarse: of the batch, not of the packet
	clock func() int64

	// Scratch, so that nothing is allocated for a packet.
	batch  [batch]transit
	inner  packet.Header
	frames [deep][]byte // the first batch of them, unless overloaded
	buffer []byte       // of the largest packet
	piece  []byte       // the same, for what is made of the one in buffer
	hint   int          // the port that the last decrypted packet left by

	flows   flows
	waiting waiting
	strange strangers
	errors  errorBudget
	prefer  preference
	tables  atomic.Pointer[[]*nat.Table] // of the SAs that this worker owns
	changed []news                       // SAs touched since the last publication
	settled int64                        // when that was

	counters  [packet.Verdicts]uint64
	published [packet.Verdicts]atomic.Uint64

	sleeping, nudged atomic.Bool
	wake             int // eventfd
	fds              []unix.PollFd
}

// arrival is a packet as it came to a worker, so that it can be handed on or
// kept in just that form.
type arrival struct {
	origin origin
	port   int    // with fromPort
	data   []byte // an Ethernet frame with fromPort, else an IP packet
	hops   uint8  // how many workers have passed it on
}

func newWorker(id int, ports []Port, wake int) *Worker {
	w := &Worker{
		id: id, ports: ports, wake: wake, hint: hint(ports),
		clock:  func() int64 { return time.Now().UnixNano() },
		buffer: make([]byte, kernelBytes), piece: make([]byte, kernelBytes), changed: make([]news, 0, changedSAs),
	}
	w.prefer.full = make([]int, len(ports))
	w.fds = append(w.fds, unix.PollFd{Fd: int32(wake), Events: unix.POLLIN})
	for _, p := range ports {
		if fd := p.Queue.FD(); fd >= 0 {
			w.fds = append(w.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	return w
}

// hint is where decrypted packets will most likely go.
func hint(ports []Port) int {
	return max(0, slices.IndexFunc(ports, func(p Port) bool { return p.Inside }))
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
	defer context.AfterFunc(ctx, w.nudge)()
	defer w.reader.Leave()
	defer w.publish()
	idle := newIdle()
	for ctx.Err() == nil {
		n, err := w.Poll()
		if err != nil {
			return err
		}
		if idle.spent(n, w.now) {
			if err := w.sleep(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Poll does one batch of everything and returns how many packets there were.
func (w *Worker) Poll() (int, error) {
	w.snap = w.reader.Enter()
	w.flows.fit(w.snap.Policies())
	if t := w.routes.Table(); t != w.table {
		w.table, w.era, w.near = t, w.era+1, near{}
	}
	w.now = w.clock()

	total := w.resume()
	for i := range w.ports {
		total += w.receive(i)
	}
	for _, ring := range w.in {
		n := ring.ready(batch)
		for i := range n {
			w.batch[i].arrival = ring.at(i)
		}
		if n > 0 {
			w.process(w.batch[:n])
			ring.release(n)
		}
		total += n
	}
	for i := range w.ports {
		if err := w.ports[i].Queue.Flush(); err != nil {
			return total, fmt.Errorf("send on %s: %w", w.ports[i].Name, err)
		}
	}
	w.settle()
	return total, nil
}

// receive does a batch of the frames that came by a port.
func (w *Worker) receive(port int) int {
	q := w.ports[port].Queue
	if w.prefer.late(port) {
		return w.triage(port, q)
	}
	n := q.Peek(w.frames[:batch])
	for i, frame := range w.frames[:n] {
		w.batch[i].arrival = arrival{origin: fromPort, port: port, data: frame}
	}
	w.process(w.batch[:n])
	q.Release()
	w.prefer.took(port, n)
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

// maxHops bounds how often a packet is passed on: more than once only when its
// policy takes up an SA of another owner while it is under way.
const maxHops = 4

// handOff gives a packet to the worker that owns its SA.
func (w *Worker) handOff(owner int, a arrival) packet.Verdict {
	a.hops++
	if a.hops > maxHops || owner >= len(w.out) || !w.out[owner].push(a) {
		return packet.DropHandoffFull
	}
	w.group.Workers[owner].rouse()
	return packet.HandedOff
}

// rouse ends the worker's sleep, or keeps it from beginning. The caller has
// stored what the worker is to see before: sleep looks again after it has
// raised the flag that is read here, so one of the two sees the other.
func (w *Worker) rouse() {
	if w.sleeping.Load() && w.sleeping.CompareAndSwap(true, false) {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(w.wake, one[:]) // fails only when the counter is full, and then it is awake
	}
}

// nudge rouses the worker for what its rings do not show.
func (w *Worker) nudge() {
	w.nudged.Store(true)
	w.rouse()
}
