package datapath

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// Group are the workers of one data path and the rings between them.
type Group struct {
	Workers []*Worker

	host    *handoff   // from the tunnel device to worker 0
	kernel  []*handoff // from the kernel's sockets, to each worker
	sockets sync.Mutex // each socket has a reader, each ring one producer

	hostFull, kernelFull atomic.Uint64 // packets that found their ring full
}

// NewGroup makes one worker for each element of ports, which lists the queues
// of worker n in the same order of ports for all: the order of fib.Port.Index.
func NewGroup(ports [][]Port, db *DB, routes Routes, slow SlowPath) (*Group, error) {
	if n := len(ports); n < 1 || n > sadb.MaxWorkers {
		return nil, fmt.Errorf("%d workers: must be 1 to %d", n, sadb.MaxWorkers)
	}
	if n := len(ports[0]); n < 1 || n > math.MaxUint8 {
		return nil, fmt.Errorf("%d ports: must be 1 to %d", n, math.MaxUint8)
	}
	g := &Group{host: newHandoff(handoffSlots, handoffBytes)}
	for id, own := range ports {
		wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		if err != nil {
			g.Close()
			return nil, fmt.Errorf("eventfd of worker %d: %w", id, err)
		}
		g.Workers = append(g.Workers, newWorker(id, own, wake))
	}
	for _, w := range g.Workers {
		w.group, w.routes, w.slow, w.reader = g, routes, slow, db.Reader()
	}
	g.connect()
	return g, nil
}

// Prefer names the DSCPs whose packets go first, and are not dropped for others,
// when a worker is late (N7). It is for before the workers run.
func (g *Group) Prefer(dscp []uint8) {
	for _, w := range g.Workers {
		w.prefer.dscp = 0
		for _, v := range dscp {
			w.prefer.dscp |= 1 << (v & 63)
		}
	}
}

// connect makes a ring for every pair of workers. What this host sends enters at
// worker 0, which hands it to its owner like any other packet.
func (g *Group) connect() {
	for _, from := range g.Workers {
		from.out = make([]*handoff, len(g.Workers))
		for _, to := range g.Workers {
			if from != to {
				ring := newHandoff(handoffSlots, handoffBytes)
				from.out[to.id] = ring
				to.in = append(to.in, ring)
			}
		}
		ring := newHandoff(kernelSlots, kernelBytes)
		g.kernel = append(g.kernel, ring)
		from.in = append(from.in, ring)
	}
	g.Workers[0].in = append(g.Workers[0].in, g.host)
}

// Close releases what the group holds. The workers must have stopped.
func (g *Group) Close() {
	for _, w := range g.Workers {
		if w.reader != nil {
			w.reader.Close()
		}
		unix.Close(w.wake)
	}
}

// FromHost takes an IP packet that this host sent into the tunnel device. It
// reports false when the packet had to be dropped, and counts that. One
// goroutine may call it.
func (g *Group) FromHost(ip []byte) bool {
	ok := g.host.push(arrival{origin: fromHost, data: ip})
	if !ok {
		g.hostFull.Add(1)
	}
	g.Workers[0].rouse()
	return ok
}

// FromKernel takes an outer IP packet with ESP that came by the kernel's sockets.
// It reports false when the packet had to be dropped, and counts that. Any
// goroutine may call it.
func (g *Group) FromKernel(ip []byte) bool {
	owner := g.owner(ip)
	g.sockets.Lock()
	ok := g.kernel[owner].push(arrival{origin: fromKernel, data: ip})
	g.sockets.Unlock()
	if !ok {
		g.kernelFull.Add(1)
	}
	g.Workers[owner].rouse()
	return ok
}

// owner guesses the worker that owns an outer packet's SA, so that what the
// kernel put together, which may be larger than any frame, is not passed on. The
// worker checks all of it again.
func (g *Group) owner(ip []byte) int {
	var h packet.Header
	if h.ParseIP(ip) != packet.Pass {
		return 0
	}
	body := ip[h.Payload:h.Length]
	if h.Protocol == packet.UDP && len(body) >= packet.UDPLen {
		body = body[packet.UDPLen:]
	}
	if len(body) < esp.HeaderLen {
		return 0
	}
	if owner := sadb.SPI(binary.BigEndian.Uint32(body)).Worker(); owner < len(g.Workers) {
		return owner
	}
	return 0
}

// Counters are the packets that never reached a worker.
func (g *Group) Counters() keysock.Counters {
	return keysock.Counters{
		Source: "slow path",
		Names:  []string{"drop_host_ring_full", "drop_kernel_ring_full"},
		Values: []uint64{g.hostFull.Load(), g.kernelFull.Load()},
	}
}

// Rouse wakes every sleeping worker, so that it looks at the new snapshot.
func (g *Group) Rouse() {
	for _, w := range g.Workers {
		w.nudge()
	}
}
