package datapath_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"spindle/datapath"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// What arrives between the last look at the rings and the sleep keeps the worker
// awake, although nobody saw it asleep.
func TestNoSleepOverWork(t *testing.T) {
	for name, bring := range map[string]func(g *gateway){
		"from this host":  func(g *gateway) { g.Group.FromHost([]byte{0}) },
		"from the kernel": func(g *gateway) { g.Group.FromKernel([]byte{0}) },
		"new snapshot":    func(g *gateway) { must(t, g.PolicyAdd(tunnelPolicy())) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, options{})
			g.poll()
			bring(g)
			start := time.Now()
			must(t, g.Group.Workers[0].Sleep())
			if d := time.Since(start); d > 500*time.Millisecond {
				t.Errorf("slept %v", d)
			}
		})
	}
}

// broken is a queue whose port was deleted.
type broken struct{ *datapath.MemoryQueue }

var errGone = errors.New("gone")

func (broken) Check() error { return errGone }

// An idle worker sends nothing that could fail, so it asks.
func TestIdleWorkerFindsItsPortGone(t *testing.T) {
	g := newGateway(t, options{wrap: func(q *datapath.MemoryQueue) datapath.Queue { return broken{q} }})
	done := make(chan error, 1)
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	go func() { done <- g.Group.Workers[0].Run(ctx, -1) }()
	if err := <-done; !errors.Is(err, errGone) {
		t.Errorf("the worker ended with %v", err)
	}
}

// paused stops its worker in the middle of a batch.
type paused struct {
	*datapath.MemoryQueue
	during *func()
}

func (p paused) Peek(frames [][]byte) int {
	n := p.MemoryQueue.Peek(frames)
	if n > 0 {
		(*p.during)()
	}
	return n
}

// An SA that is replaced or deleted while a worker is amid a batch serves that
// batch to its end: its key is wiped after that, and only then the change is
// acknowledged.
func TestChangeDuringABatch(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(g *gateway, tn *tunnel) error
	}{
		{"replace inbound", func(g *gateway, tn *tunnel) error { tn.in.Key = key(77); return g.Add(tn.in) }},
		{"replace outbound", func(g *gateway, tn *tunnel) error { tn.out.Key = key(78); return g.Add(tn.out) }},
		{"delete inbound", func(g *gateway, tn *tunnel) error {
			return g.Delete(keysock.Delete{Direction: sadb.Inbound, Pair: tn.in.SPI})
		}},
		{"delete outbound", func(g *gateway, tn *tunnel) error {
			return g.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: tn.in.SPI})
		}},
		{"flush", func(g *gateway, _ *tunnel) error { return g.Flush() }},
	} {
		for _, port := range []int{inside, outside} {
			t.Run(c.name, func(t *testing.T) {
				during, done := func() {}, make(chan error, 1)
				g := newGateway(t, options{wrap: func(q *datapath.MemoryQueue) datapath.Queue { return paused{q, &during} }})
				tn := g.up(newTunnel(t, 0, 1, false, false, nil))
				during = func() {
					during = func() {}
					go func() { done <- c.change(g, tn) }()
					time.Sleep(20 * time.Millisecond)
					select {
					case err := <-done:
						t.Errorf("acknowledged amid the batch: %v", err)
						done <- err
					default:
					}
				}
				ip, seal := clearPacket(t, hostA4, hostB4, 10), fromInside
				if port == outside {
					ip, seal = tn.sealed(t, clearPacket(t, hostB4, hostA4, 10)), fromOutside
				}
				g.queues[0][port].Deliver(seal(ip))
				w := g.Group.Workers[0]
				_, err := w.Poll()
				must(t, err)
				w.Leave()
				must(t, <-done)
				frames := g.sent(1 - port)
				if len(frames) != 1 || port == inside && !bytes.Equal(tn.opened(t, frames[0][packet.EthernetLen:]), hopped(t, ip)) {
					t.Errorf("sent %x, verdicts %v", frames, g.verdicts())
				}
			})
		}
	}
}

// What sleeps wakes: for a packet of another worker, of the slow path, and for a
// new snapshot that packets wait for. Nothing here may need the second that a
// worker sleeps by itself.
func TestSleepersWake(t *testing.T) {
	g := newGateway(t, options{workers: 2})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, w := range g.Group.Workers {
		go func() { done <- w.Run(ctx, -1) }()
	}
	must(t, g.PolicyAdd(tunnelPolicy()))
	await := func(what string, port, worker int) {
		t.Helper()
		start := time.Now()
		for g.queues[worker][port].Sent(func([]byte) {}) == 0 {
			if time.Since(start) > 700*time.Millisecond {
				t.Fatalf("%s: nothing was sent within %v", what, time.Since(start))
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	for round := range 30 {
		g.Group.FromHost(clearPacket(t, addr("10.6.6.1"), hostB4, 10))
		time.Sleep(time.Duration(round) * 50 * time.Microsecond)
		tn := newTunnel(t, 1, round+1, false, false, nil)
		g.add(tn)
		await("waiting packet", outside, 1)
		time.Sleep(time.Duration(round) * 10 * time.Microsecond)
		g.Group.FromKernel(tn.sealed(t, clearPacket(t, hostB4, hostA4, 10)))
		await("from the kernel", inside, 1)
		g.queues[0][inside].Deliver(fromInside(clearPacket(t, hostA4, hostB4, 10)))
		g.Group.Rouse()
		await("handed over", outside, 1)
		must(t, g.Flush())
		must(t, g.PolicyAdd(tunnelPolicy()))
	}
	start := time.Now()
	stop()
	for range g.Group.Workers {
		must(t, <-done)
	}
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("stopping took %v", d)
	}
}
