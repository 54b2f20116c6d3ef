package bench

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// chunk is how many frames are made before the clock starts: full batches of the
// worker, and whole rounds of the mix.
const chunk = 192

// source makes the frames that arrive at the gateway: clear ones from our host,
// or sealed ones from the peers, with sequence numbers that go on rising. It
// remembers what went into each, so that what came out can be checked.
type source struct {
	direction sadb.Direction
	suite     esp.Suite
	order     []int           // sites, in the order of sending
	at        int             // in order
	peers     []*esp.Outbound // by site: inbound only

	clear  [][]byte // inner packets of the chunk
	sites  []int    // whose they are
	frames [][]byte // the chunk, as it arrives
	space  [][]byte // where the frames stand

	opened map[int]*esp.Inbound // by site: who checks what was sealed
	plain  []byte               // scratch of the checks
	want   []byte
}

// newSource prepares a chunk of frames for that many sites. They come in an
// order without a pattern: no prefetcher knows the next SA.
func newSource(direction sadb.Direction, size Size, sas int, suite esp.Suite, peers []*esp.Outbound) *source {
	s := &source{
		direction: direction, suite: suite, order: rand.New(rand.NewPCG(1, 2)).Perm(sas), peers: peers,
		sites: make([]int, chunk), opened: map[int]*esp.Inbound{},
		plain: make([]byte, frameLen), want: make([]byte, frameLen),
	}
	lengths := size.frames()
	for i := range chunk {
		n := lengths[i%len(lengths)]
		space := make([]byte, frameLen)
		s.space = append(s.space, space)
		s.sites[i] = -1
		if direction == sadb.Outbound {
			eth := packet.Ethernet{Dst: inMAC, Src: hostMAC, Type: packet.EtherTypeIPv4}
			s.clear = append(s.clear, space[eth.Put(space):n])
			s.frames = append(s.frames, space[:n])
			continue
		}
		eth := packet.Ethernet{Dst: outMAC, Src: peerMAC, Type: packet.EtherTypeIPv4}
		eth.Put(space)
		s.clear = append(s.clear, make([]byte, n-packet.EthernetLen))
		s.frames = append(s.frames, nil)
	}
	return s
}

// refill makes the next chunk.
func (s *source) refill() error {
	for i := range chunk {
		site := s.order[s.at]
		if s.at++; s.at == len(s.order) {
			s.at = 0
		}
		s.address(i, site)
		if s.direction == sadb.Outbound {
			continue
		}
		n, v := s.peers[site].Seal(s.space[i][packet.EthernetLen:], s.clear[i], 0)
		if v != packet.Pass {
			return fmt.Errorf("seal for site %d: %v", site, v)
		}
		s.frames[i] = s.space[i][:packet.EthernetLen+n]
	}
	return nil
}

// address makes clear packet i one of that site's.
func (s *source) address(i, site int) {
	if s.sites[i] == site {
		return
	}
	s.sites[i] = site
	from, to := hostAddr, siteAddr(site)
	if s.direction == sadb.Inbound {
		from, to = to, from
	}
	putInner(s.clear[i], from, to, len(s.clear[i]))
}

// octets are the bytes of the chunk: of clear packets, and of frames as they arrive.
func (s *source) octets() (clear, arriving uint64) {
	for i := range chunk {
		clear += uint64(len(s.clear[i]))
		arriving += uint64(len(s.frames[i]))
	}
	return clear, arriving
}

// check compares frames that left with the last ones of the chunk: what the peer
// opens, or what our host receives, is the packet that was sent, one hop older.
func (s *source) check(left [][]byte) error {
	for k, frame := range left {
		i := chunk - len(left) + k
		want := s.want[:copy(s.want, s.clear[i])]
		packet.DecrementTTL(want)
		got := frame[packet.EthernetLen:]
		if s.direction == sadb.Outbound {
			var err error
			if got, err = s.open(s.sites[i], got); err != nil {
				return err
			}
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("packet for site %d came out changed: got %d bytes %.32x..., want %d bytes %.32x...",
				s.sites[i], len(got), got, len(want), want)
		}
	}
	return nil
}

// open is the peer's side of a sealed packet.
func (s *source) open(site int, ip []byte) ([]byte, error) {
	in := s.opened[site]
	if in == nil {
		theirs := peerSA(site, sadb.Outbound, s.suite)
		theirs.ReplayWindow = 0
		var err error
		if in, err = esp.NewInbound(&theirs); err != nil {
			return nil, err
		}
		s.opened[site] = in
	}
	n, v := in.Open(s.plain, ip, &packet.Header{Protocol: packet.ESP}, ip[packet.IPv4Len:], 0)
	if v != packet.Pass {
		return nil, fmt.Errorf("site %d opens what was sealed for it: %v", site, v)
	}
	return s.plain[:n], nil
}
