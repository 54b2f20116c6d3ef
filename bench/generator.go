package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// generator sends at one far end and receives at the other, both in the calling
// goroutine. It seals what goes in and opens what comes out, so that each packet
// that counts as received is known to be right.
type generator struct {
	from, to  *farEnd
	direction sadb.Direction
	lengths   []int
	out       *esp.Outbound // the peer's, for inbound packets
	in        *esp.Inbound  // the peer's, for outbound ones

	inner   []byte // template of the longest packet
	clear   []byte // scratch of what is to be sealed
	plain   []byte // scratch of what was opened
	frames  [64][]byte
	sent    uint64
	got     uint64
	wrong   uint64                  // received, and no packet that was ever sent
	first   uint64                  // number of the trial's first packet
	latency *hdrhistogram.Histogram // nanoseconds; nil when not asked for
	began   time.Time
}

func newGenerator(w *wires, direction sadb.Direction, size Size, suite esp.Suite, crypto *esp.Crypto) (*generator, error) {
	g := &generator{
		from: w.ends[inPort], to: w.ends[outPort], direction: direction, lengths: size.frames(),
		inner: make([]byte, frameLen), clear: make([]byte, frameLen), plain: make([]byte, frameLen), began: time.Now(),
	}
	from, to := hostAddr, siteAddr(0)
	if direction == sadb.Inbound {
		g.from, g.to = g.to, g.from
		from, to = to, from
	}
	putInner(g.inner, from, to, maxSize)
	theirs := peerSA(0, direction, suite)
	var err error
	if direction == sadb.Inbound {
		g.out, err = crypto.NewOutbound(&theirs)
	} else {
		g.in, err = crypto.NewInbound(&theirs)
	}
	return g, err
}

// wipe ends the far end's SA.
func (g *generator) wipe() {
	if g.out != nil {
		g.out.Wipe()
	}
	if g.in != nil {
		g.in.Wipe()
	}
}

// trial is what one rate came to.
type trial struct {
	Sent, Received uint64
	Rate           float64 // Mpps that were really sent
	CPU            []float64
}

func (t *trial) loss() float64 { return 1 - float64(t.Received)/float64(max(t.Sent, 1)) }

// Bounds of a trial: what is still under way when sending ends arrives within
// drain, and settling separates a trial from the one before.
const (
	drain    = 300 * time.Millisecond
	settling = 20 * time.Millisecond
)

// run sends at a rate in packets per second, 0 for as fast as it goes, for so
// long. It is open-loop: each packet has its time, and its latency counts from
// that time even when it was sent late (no coordinated omission).
func (g *generator) run(rate float64, on time.Duration) (trial, error) {
	g.first, g.sent, g.got, g.wrong = g.first+g.sent, 0, 0, 0
	before, err := cpuTimes()
	if err != nil {
		return trial{}, err
	}
	start := time.Now()
	end := start
	for end = time.Now(); end.Sub(start) < on; end = time.Now() {
		due := uint64(len(g.frames))
		if rate > 0 {
			due = uint64(end.Sub(start).Seconds()*rate) - g.sent
		}
		if err := g.send(min(due, uint64(len(g.frames))), start, rate); err != nil {
			return trial{}, err
		}
		g.receive()
	}
	after, err := cpuTimes()
	if err != nil {
		return trial{}, err
	}
	t := trial{Sent: g.sent, Rate: float64(g.sent) / end.Sub(start).Seconds() / 1e6, CPU: busy(before, after)}
	for quiet := time.Now(); g.got < g.sent && time.Since(quiet) < drain; {
		if g.receive() > 0 {
			quiet = time.Now()
		}
		if err := g.from.Flush(); err != nil {
			return t, err
		}
	}
	time.Sleep(settling)
	if t.Received = g.got; g.wrong > 0 {
		return t, fmt.Errorf("%d packets came out that are none of those sent", g.wrong)
	}
	return t, nil
}

// send sends n packets, fewer when the wire takes no more.
func (g *generator) send(n uint64, start time.Time, rate float64) error {
	for range n {
		frame := g.from.Reserve()
		if frame == nil {
			break
		}
		at := start.Sub(g.began)
		if rate > 0 {
			at += time.Duration(float64(g.sent) / rate * 1e9)
		} else {
			at = time.Since(g.began)
		}
		length, err := g.build(frame, at)
		if err != nil {
			return err
		}
		g.from.Submit(length)
		g.sent++
	}
	return g.from.Flush()
}

// build writes the next packet, with its number and its time inside.
func (g *generator) build(frame []byte, at time.Duration) (int, error) {
	number := g.first + g.sent
	n := g.lengths[number%uint64(len(g.lengths))] - packet.EthernetLen
	ip := g.clear[:n]
	if g.direction == sadb.Outbound {
		ip = frame[packet.EthernetLen:][:n]
	}
	copy(ip, g.inner[:n])
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	binary.BigEndian.PutUint16(ip[packet.IPv4Len+4:], uint16(n-packet.IPv4Len))
	binary.BigEndian.PutUint16(ip[packet.IPv4Len+6:], 0) // no UDP checksum (RFC 768)
	packet.SetIPv4Checksum(ip)
	stamp := ip[packet.IPv4Len+packet.UDPLen:]
	binary.BigEndian.PutUint64(stamp, number)
	binary.BigEndian.PutUint64(stamp[8:], uint64(at))
	eth := packet.Ethernet{Dst: inMAC, Src: hostMAC, Type: packet.EtherTypeIPv4}
	if g.direction == sadb.Outbound {
		eth.Put(frame)
		return packet.EthernetLen + n, nil
	}
	eth.Dst, eth.Src = outMAC, peerMAC
	eth.Put(frame)
	sealed, v := g.out.Seal(frame[packet.EthernetLen:], ip, 0)
	if v != packet.Pass {
		return 0, errors.New("the generator cannot seal: " + v.String())
	}
	return packet.EthernetLen + sealed, nil
}

// receive takes what has arrived and returns how much.
func (g *generator) receive() int {
	n := g.to.Peek(g.frames[:])
	if n == 0 {
		return 0
	}
	now := time.Since(g.began)
	for _, frame := range g.frames[:n] {
		number, at, ok := g.read(frame)
		if !ok || number < g.first || number >= g.first+g.sent {
			if !ok || number >= g.first { // else it is late, and its trial counted it as lost
				g.wrong++
			}
			continue
		}
		g.got++
		if g.latency != nil {
			_ = g.latency.RecordValue(int64(now - at)) // out of range is a second and more
		}
	}
	g.to.Release()
	return n
}

func (g *generator) read(frame []byte) (number uint64, at time.Duration, ok bool) {
	var h packet.Header
	ip := frame[packet.EthernetLen:]
	if h.ParseIP(ip) != packet.Pass {
		return 0, 0, false
	}
	if g.direction == sadb.Outbound {
		n, v := g.in.Open(g.plain, ip, &h, ip[h.Payload:h.Length], 0)
		if v != packet.Pass {
			return 0, 0, false
		}
		ip = g.plain[:n]
	}
	if len(ip) < packet.IPv4Len+packet.UDPLen+16 {
		return 0, 0, false
	}
	stamp := ip[packet.IPv4Len+packet.UDPLen:]
	return binary.BigEndian.Uint64(stamp), time.Duration(binary.BigEndian.Uint64(stamp[8:])), true
}
