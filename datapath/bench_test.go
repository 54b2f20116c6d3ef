package datapath_test

import (
	"fmt"
	"testing"

	"spindle/sadb"
)

// BenchmarkWorker is the whole way of a packet through a worker, from the RX ring
// to the TX ring of another port, both memory. What a network card and the kernel
// cost is not in it. b/op is nothing: see TestNoAllocations.
func BenchmarkWorker(b *testing.B) {
	for _, size := range []int{64, 1400} {
		b.Run(fmt.Sprintf("outbound/%d", size), func(b *testing.B) {
			g := newGateway(b, options{quiet: true})
			g.up(newTunnel(b, 0, 1, false, false, nil))
			benchWorker(b, g, inside, outside, fromInside(clearPacket(b, hostA4, hostB4, size-28)), size)
		})
		b.Run(fmt.Sprintf("inbound/%d", size), func(b *testing.B) {
			g := newGateway(b, options{quiet: true})
			tn := g.up(newTunnel(b, 0, 1, false, false, func(in, _ *sadb.SA) { in.ReplayWindow = 0 }))
			benchWorker(b, g, outside, inside, fromOutside(tn.sealed(b, clearPacket(b, hostB4, hostA4, size-28))), size)
		})
	}
}

func benchWorker(b *testing.B, g *gateway, from, to int, frame []byte, size int) {
	const burst = 64
	w, sent := g.Group.Workers[0], 0
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if !g.queues[0][from].Deliver(frame) {
			b.Fatal("RX is full")
		}
		if sent++; sent%burst == 0 {
			w.Poll()
			if n := g.queues[0][to].Sent(func([]byte) {}); n != burst {
				b.Fatalf("%d of %d frames sent: %v", n, burst, g.verdicts())
			}
		}
	}
}
