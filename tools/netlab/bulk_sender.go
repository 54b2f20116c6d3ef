package netlab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A bulk packet, in network order; an acknowledgement is its first two words,
// the second being one more than the highest sequence number received:
//
//	 0                   8                  16     17
//	+-------------------+-------------------+------+------------
//	|       magic       |  sequence number  | ack  |  pattern ...
//	+-------------------+-------------------+------+------------
const (
	bulkMagic  = 0x5350_4c42_554c_4b31
	bulkHeader = 17
	ackSize    = 16
	maxBurst   = 32 // of an open-loop sender that woke up late
)

// pattern makes payloads that differ from packet to packet, so that swapped or
// stale bytes show.
type pattern struct {
	size  int // of the UDP payload
	bytes []byte
}

func newPattern(size int) pattern {
	p := pattern{size: size, bytes: make([]byte, size+256)}
	x := uint32(1)
	for i := range p.bytes {
		x = x*1664525 + 1013904223
		p.bytes[i] = byte(x >> 24)
	}
	return p
}

func (p pattern) of(seq uint64) []byte {
	start := int(seq % 251)
	return p.bytes[start : start+p.size-bulkHeader]
}

func (p pattern) fill(buf []byte, seq uint64, ack bool) {
	binary.BigEndian.PutUint64(buf, bulkMagic)
	binary.BigEndian.PutUint64(buf[8:], seq)
	buf[16] = 0
	if ack {
		buf[16] = 1
	}
	copy(buf[bulkHeader:], p.of(seq))
}

func (p pattern) intact(buf []byte, seq uint64) bool {
	return len(buf) == p.size && bytes.Equal(buf[bulkHeader:], p.of(seq))
}

type sender struct {
	conn    *net.UDPConn
	pattern pattern
	o       BulkOptions
	acked   atomic.Uint64
	news    atomic.Uint64 // acknowledgements that came
}

func (s *sender) collectAcks() {
	buf := make([]byte, 64)
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != ackSize || binary.BigEndian.Uint64(buf) != bulkMagic {
			if err != nil {
				time.Sleep(time.Millisecond) // an ICMP error; the next read blocks again
			}
			continue
		}
		if next := binary.BigEndian.Uint64(buf[8:]); next > s.acked.Load() {
			s.acked.Store(next)
		}
		s.news.Add(1)
	}
}

// run sends the stream. Packets that the local stack refuses count as sent:
// whoever asks wants to know whether they arrived.
func (s *sender) run(ctx context.Context) (r BulkResult) {
	buf := make([]byte, s.pattern.size)
	start := time.Now()
	stride := uint64(max(1, s.o.Window/4))
	lostInRow := 0
	for seq := uint64(0); !s.finished(ctx, seq, start); seq++ {
		s.pace(seq, start)
		if s.o.Window > 0 && !s.awaitWindow(seq) {
			r.Stalls++
			if lostInRow++; s.news.Load() == 0 && lostInRow >= giveUpAfter {
				break
			}
			s.acked.Store(seq) // what was outstanding is lost
		}
		s.pattern.fill(buf, seq, (seq+1)%stride == 0)
		if err := s.write(buf); err != nil {
			r.SendErrors++
			r.LastError = err
		}
		r.Sent++
	}
	r.Elapsed = time.Since(start)
	return r
}

func (s *sender) finished(ctx context.Context, seq uint64, start time.Time) bool {
	switch {
	case ctx.Err() != nil:
		return true
	case s.o.Packets > 0 && seq >= uint64(s.o.Packets):
		return true
	}
	return s.o.Duration > 0 && time.Since(start) >= s.o.Duration
}

// pace sleeps until the packet is due. A late sender catches up in short bursts
// only: a longer one would measure the ring of the first veth.
func (s *sender) pace(seq uint64, start time.Time) {
	if s.o.Rate == 0 {
		return
	}
	due := start.Add(time.Duration(float64(seq) / float64(s.o.Rate) * float64(time.Second)))
	if ahead := time.Until(due); ahead > 0 {
		time.Sleep(ahead)
	} else if seq%maxBurst == 0 && -ahead > time.Duration(maxBurst)*time.Second/time.Duration(s.o.Rate) {
		time.Sleep(100 * time.Microsecond)
	}
}

// awaitWindow waits until less than a window is outstanding; false when no
// acknowledgement came in time.
func (s *sender) awaitWindow(seq uint64) bool {
	if seq-s.acked.Load() < uint64(s.o.Window) {
		return true
	}
	for deadline := time.Now().Add(stallAfter); time.Now().Before(deadline); time.Sleep(20 * time.Microsecond) {
		if seq-s.acked.Load() < uint64(s.o.Window) {
			return true
		}
	}
	return false
}

// write retries where the local stack is short of room.
func (s *sender) write(buf []byte) (err error) {
	for range 100 {
		_, err = s.conn.Write(buf)
		switch {
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			time.Sleep(time.Millisecond)
		case errors.Is(err, unix.ECONNREFUSED): // reports an earlier packet, this one was not sent
			continue
		default:
			return err
		}
	}
	return err
}
