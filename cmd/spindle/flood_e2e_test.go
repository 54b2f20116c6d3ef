package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/testbed"
	"spindle/datapath/packet"
	"spindle/tools/netlab"
)

const (
	floodRounds = 40
	floodRound  = 2500    // packets
	memoryGrows = 4 << 10 // KiB, for what a garbage collector leaves lying about
)

// TestSpoofedFlood: V6: random SPIs from 100,000 spoofed sources, and from the peer's
// own address, beside a tunnel that carries all it can, cost it no packet, start no
// negotiation, make no more messages than the budget, are counted, and are not
// remembered: the memory of both processes stays where it was.
func TestSpoofedFlood(t *testing.T) {
	for _, p := range ours {
		t.Run(p.String(), func(t *testing.T) { flood(t, p) })
	}
}

func flood(t *testing.T, p party) {
	b := p.bed(t, "flood", func(r6, r8 *testbed.Tunnel) {
		r6.Lines = []string{"invalid_spi_recovery: true"}
	}, nil)
	first := b.up()
	b.carry(4, netlab.BulkOptions{Duration: time.Second, Window: 16}) // what memory traffic itself needs is there
	before, err := b.wire.Read()
	check(t, err)
	memory := b.memory(b.r6)
	began := time.Now()
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 5 * time.Second, Window: 16}, b.ways(4))
		traffic <- err
	}()
	for round := range floodRounds {
		raw(t, b.R8, b.R6Addr, bogus(b, round))
		time.Sleep(50 * time.Millisecond)
	}
	check(t, <-traffic)
	arrived(t, results)
	after, err := b.wire.Read()
	check(t, err)
	// To the peer that is really there: five at once, then one a second, each with an
	// answer in IKEv2 (V2, V6). Strangers are told nothing.
	budget := 2 * (5 + uint64(time.Since(began).Seconds()) + 1)
	if grew := after.IKE.Frames - before.IKE.Frames; grew == 0 || grew > budget {
		t.Errorf("V6: the flood made %d IKE messages, the budget is %d", grew, budget)
	}
	b.counted()
	if list := children(t, b.r6, "installed"); len(list) != 1 || list[0].SPIIn != first.SPIIn {
		t.Errorf("V6: the child SA did not survive: %+v", list)
	}
	now := b.memory(b.r6)
	t.Logf("%d packets a second each way beside the flood; KiB resident before and after: %v, %v", int(results[0].PacketsPerS), memory, now)
	for role, kib := range now {
		if kib > memory[role]+memoryGrows {
			t.Errorf("V6: the %s process grew from %d to %d KiB", role, memory[role], kib)
		}
	}
}

// counted wants the flood in the counters, by the worker or already by XDP (V1).
func (b *bed) counted() {
	b.t.Helper()
	drops, err := b.r6.Drops(b.t.Context())
	check(b.t, err)
	var unknown uint64
	for where, n := range drops {
		if strings.Contains(where, "unknown_spi") {
			unknown += n
		}
	}
	if sent := uint64(floodRounds * floodRound); unknown < sent*3/4 || unknown > sent {
		b.t.Errorf("V1: %d of %d packets were counted as unknown SPIs: %v", unknown, sent, drops)
	}
}

// memory is what each process of a gateway has resident, in KiB.
func (b *bed) memory(g *testbed.Gateway) map[string]int {
	b.t.Helper()
	sizes := map[string]int{}
	for _, role := range []string{"datapath", "control"} {
		pid, err := g.PID(role)
		check(b.t, err)
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		check(b.t, err)
		for line := range strings.Lines(string(text)) {
			kib := 0
			if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 { // the other lines do not match
				sizes[role] = kib
			}
		}
	}
	return sizes
}

// bogus is one round of the flood: each packet from another source, every tenth
// from the peer.
func bogus(b *bed, round int) (packets [][]byte) {
	for i := range floodRound {
		n := uint32(round*floodRound + i)
		src := netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)})
		if i%10 == 0 {
			src = b.R8Addr
		}
		packets = append(packets, bogusESP(src, b.R6Addr, 0x10000000+n*2654435761))
	}
	return packets
}

func bogusESP(src, dst netip.Addr, spi uint32) []byte {
	b := make([]byte, packet.IPv4Len+64)
	b[0], b[8], b[9] = 0x45, 64, packet.ESP
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint32(b[packet.IPv4Len:], spi)
	packet.SetIPv4Checksum(b)
	return b
}
