package datapath

import (
	"fmt"
	"sync/atomic"

	"spindle/datapath/packet"
	"spindle/sadb/keysock"
)

// A worker is late on a port that gave it so many full batches in a row: its ring
// fills faster than it empties, and will soon lose whatever comes. From then on the
// worker looks at deep frames at a time, and does all that are preferred, before it
// does one batch of the others; to look costs a fraction of what to encrypt costs,
// so the ring empties, and what is lost is what was chosen (N7).
const (
	lateAfter = 4
	deep      = 4 * batch
)

// preference is what goes first. Without a DSCP the worker knows of no lateness.
type preference struct {
	dscp uint64 // a bit for each
	full []int  // by port: full batches in a row

	count     uint64 // packets that went before others
	published atomic.Uint64
}

func (p *preference) late(port int) bool {
	return p.dscp != 0 && p.full[port] >= lateAfter
}

// took notes how many frames a port gave.
func (p *preference) took(port, n int) {
	if n < batch {
		p.full[port] = 0
		return
	}
	p.full[port]++
}

// triage does the frames that are preferred, then a batch of the others.
func (w *Worker) triage(port int, q Queue) int {
	n := q.Peek(w.frames[:])
	frames, first := w.frames[:n], 0
	for i, frame := range frames {
		if w.urgent(frame) {
			w.prefer.count++
			first = w.gather(first, port, frame)
			frames[i] = nil
		}
	}
	w.process(w.batch[:first])
	others := 0
	for _, frame := range frames {
		switch {
		case frame == nil:
		case others == batch:
			w.count(packet.DropOverload)
		default:
			w.batch[others].arrival = arrival{origin: fromPort, port: port, data: frame}
			others++
		}
	}
	w.process(w.batch[:others])
	q.Release()
	w.prefer.took(port, n)
	return n
}

// gather adds a frame to the n of the batch, which is processed when it is full.
func (w *Worker) gather(n, port int, frame []byte) int {
	if n == batch {
		w.process(w.batch[:])
		n = 0
	}
	w.batch[n].arrival = arrival{origin: fromPort, port: port, data: frame}
	return n + 1
}

// urgent tells a frame that goes first: of a preferred DSCP, which an ESP packet
// shows outside as well, or IKE, without which tunnels would end under load.
func (w *Worker) urgent(frame []byte) bool {
	eth, v := packet.ParseEthernet(frame)
	if v != packet.Pass || len(frame) < eth.Len+packet.IPv4Len {
		return false
	}
	ip := frame[eth.Len:]
	if w.prefer.dscp>>(packet.TOS(ip)>>2)&1 != 0 {
		return true
	}
	h := &w.inner
	if h.ParseIP(ip) != packet.Pass || h.Protocol != packet.UDP || h.Fragment {
		return false
	}
	switch h.DstPort {
	case portIKE:
		return true
	case portNATT:
		payload, v := packet.UDPPayload(ip, h)
		kind, _ := packet.Classify(payload)
		return v == packet.Pass && kind == packet.EncapIKE
	}
	return false
}

// preferred emits how many packets went before others, for each worker.
func (g *Group) preferred(emit func(keysock.Counters) error) error {
	for _, w := range g.Workers {
		if w.prefer.dscp == 0 {
			continue
		}
		c := keysock.Counters{Source: fmt.Sprintf("priority of worker %d", w.id),
			Names: []string{"preferred"}, Values: []uint64{w.prefer.published.Load()}}
		if err := emit(c); err != nil {
			return err
		}
	}
	return nil
}
