package bench

import (
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// TestMixSpreadsItsShares counts a round of the mix.
func TestMixSpreadsItsShares(t *testing.T) {
	count := map[int]int{}
	lengths := IMIX.frames()
	for i, n := range lengths {
		count[n]++
		if i > 3 && n == 1400 && lengths[i-1] == 1400 {
			t.Errorf("two large frames in a row, at %d", i)
		}
	}
	if count[64] != 28 || count[570] != 16 || count[1400] != 4 || chunk%len(lengths) != 0 || chunk%64 != 0 {
		t.Errorf("mix %v, chunk %d", count, chunk)
	}
}

// TestCheckNoticesOneBit is what makes a result worth anything: a packet that came
// out wrong in a single bit ends the run.
func TestCheckNoticesOneBit(t *testing.T) {
	suite, _ := esp.Find("aes128gcm16")
	memory := make([]byte, 4*256*frameLen)
	g, err := newGateway(2, suite, nil, memory)
	if err != nil {
		t.Fatal(err)
	}
	defer g.close()
	for _, direction := range []sadb.Direction{sadb.Outbound, sadb.Inbound} {
		s := newSource(direction, 64, 2, suite, g.peers)
		if err := s.refill(); err != nil {
			t.Fatal(err)
		}
		from, to := inPort, outPort
		if direction == sadb.Inbound {
			from, to = to, from
		}
		if err := g.run(from, s.frames); err != nil {
			t.Fatal(err)
		}
		left := g.queues[to].last()
		if err := s.check(left); err != nil || len(left) == 0 {
			t.Fatalf("%v: %d frames: %v", direction, len(left), err)
		}
		last := left[len(left)-1]
		for at := packet.EthernetLen + packet.IPv4Len + 4; at < len(last); at++ {
			last[at] ^= 1
			if s.check(left) == nil {
				t.Errorf("%v: a changed bit in byte %d was not noticed", direction, at)
			}
			last[at] ^= 1
		}
		if s.check(left[:1]) == nil {
			t.Errorf("%v: a packet in the place of another was not noticed", direction)
		}
	}
}
