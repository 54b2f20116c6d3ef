package datapath_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// duo is R6 and R8 with a wire between their outside ports.
type duo struct {
	t      testing.TB
	r6, r8 *gateway
}

func newDuo(t testing.TB, workers, frames int) *duo {
	r8Routes := map[netip.Prefix]fib.Adjacency{
		prefix("192.0.2.1/32"): direct(outside, peerMAC, outsideMAC),
		prefix("10.8.8.8/32"):  direct(inside, insideMAC, hostMAC),
		prefix("fd08::8/128"):  direct(inside, insideMAC, hostMAC),
	}
	d := &duo{
		t:  t,
		r6: newGateway(t, options{workers: workers, frames: frames}),
		r8: newGateway(t, options{workers: workers, frames: frames, routes: r8Routes, local: []netip.Addr{r8v4}}),
	}
	p := tunnelPolicy()
	must(t, d.r6.PolicyAdd(p))
	p.Local, p.Remote = p.Remote, p.Local
	must(t, d.r8.PolicyAdd(p))
	return d
}

// child is one child SA as both gateways hold it; each SPI is its receiver's.
type child struct{ r6in, r6out, r8in, r8out sadb.SA }

func (d *duo) child(owner6, owner8, slot int, suite string) child {
	p := tunnelPolicy()
	random := func() (k sadb.Key) {
		for range 20 {
			k = append(k, byte(rand.Uint32()))
		}
		return k
	}
	spi6, spi8 := sadb.NewSPI(owner6, slot, 1), sadb.NewSPI(owner8, slot, 2)
	key6, key8 := random(), random()
	end6, end8 := ends(false)
	sa := func(direction sadb.Direction, spi, pair sadb.SPI, key sadb.Key, six bool) sadb.SA {
		s := sadb.SA{SPI: spi, Pair: pair, Direction: direction, Suite: suite, Key: key, ReplayWindow: 4096, Policy: tunnelID,
			Local: end6, Remote: end8, LocalTS: p.Local, RemoteTS: p.Remote, Encap: slot%2 == 0}
		if !six {
			s.Local, s.Remote, s.LocalTS, s.RemoteTS = end8, end6, p.Remote, p.Local
		}
		return s
	}
	return child{
		r6in: sa(sadb.Inbound, spi6, spi6, key6, true), r6out: sa(sadb.Outbound, spi8, spi6, key8, true),
		r8in: sa(sadb.Inbound, spi8, spi8, key8, false), r8out: sa(sadb.Outbound, spi6, spi8, key6, false),
	}
}

func (d *duo) add(g *gateway, list ...sadb.SA) {
	d.t.Helper()
	for _, sa := range list {
		sa.Key = bytes.Clone(sa.Key)
		must(d.t, g.Add(sa))
	}
}

// carry moves frames from one gateway's outside port to the other's, to a worker
// that chance picks, as RSS would. It returns how many there were and how many
// found no room.
func carry(from, to *gateway) (moved, lost uint64) {
	for _, queues := range from.queues {
		queues[outside].Sent(func(f []byte) {
			moved++
			if !to.queues[rand.IntN(len(to.queues))][outside].Deliver(f) {
				lost++
			}
		})
	}
	return moved, lost
}

// numbered is a packet between the hosts that says which one it is.
func numbered(buf []byte, number uint64, src, dst netip.Addr, size int) []byte {
	payload := make([]byte, max(8, size))
	binary.BigEndian.PutUint64(payload, number)
	for i := range payload[8:] {
		payload[8+i] = byte(number) + byte(i)
	}
	n := packet.PutUDP(buf, netip.AddrPortFrom(src, 1), netip.AddrPortFrom(dst, 2), false, payload, uint16(number))
	return buf[:n]
}

// numberOf checks a delivered frame as far as it goes by itself, and reads its number.
func numberOf(frame []byte) (uint64, error) {
	ip := frame[packet.EthernetLen:]
	var h packet.Header
	if h.ParseIP(ip) != packet.Pass || h.TTL != packet.DefaultTTL-2 || !packet.ChecksumOK(ip, &h) {
		return 0, errors.New("the packet is damaged")
	}
	return binary.BigEndian.Uint64(ip[h.Payload+packet.UDPLen:]), nil
}

// Two gateways back to back: nothing is lost, nothing comes twice, and every
// packet that went in is accounted for.
func TestBackToBack(t *testing.T) {
	const packets, burst = 100_000, 200
	d := newDuo(t, 2, 2048)
	c := d.child(0, 1, 1, "aes128gcm16")
	d.add(d.r6, c.r6in, c.r6out)
	d.add(d.r8, c.r8in, c.r8out)

	seen, arrived := make([]bool, packets), 0
	take := func(f []byte) {
		n, err := numberOf(f)
		if err != nil || n >= packets || seen[n] {
			t.Fatalf("packet %d: %v, or twice", n, err)
		}
		seen[n] = true
		arrived++
	}
	buf := make([]byte, 2048)
	var wire6, wire8, in6, in8 uint64
	for number := uint64(0); number < packets; {
		for range burst {
			a, b := hosts(number%3 == 0)
			g, ip := d.r6, []byte(nil)
			if number%2 == 0 {
				ip = numbered(buf, number, a, b, rand.IntN(1390))
				in6++
			} else {
				g, ip = d.r8, numbered(buf, number, b, a, rand.IntN(1390))
				in8++
			}
			if !g.queues[rand.IntN(2)][inside].Deliver(fromInside(ip)) {
				t.Fatal("RX is full")
			}
			number++
		}
		d.r6.poll()
		d.r8.poll()
		out6, lost6 := carry(d.r6, d.r8)
		out8, lost8 := carry(d.r8, d.r6)
		wire6, wire8 = wire6+out6, wire8+out8
		if lost6+lost8 > 0 {
			t.Fatal("the wire is full")
		}
		d.r6.poll()
		d.r8.poll()
		for w := range 2 {
			d.r6.queues[w][inside].Sent(take)
			d.r8.queues[w][inside].Sent(take)
		}
	}
	if arrived != packets {
		t.Errorf("%d of %d arrived", arrived, packets)
	}
	for _, side := range []struct {
		g  *gateway
		in uint64
	}{{d.r6, in6 + wire8}, {d.r8, in8 + wire6}} {
		v := side.g.verdicts()
		if ended, dropped := side.g.settled(); ended != side.in || dropped != 0 || v[packet.Forwarded] != side.in {
			t.Errorf("%d packets went in, verdicts %v", side.in, v)
		}
		if v[packet.HandedOff] == 0 {
			t.Error("no packet changed its worker: the test is too tame")
		}
	}
}

// traffic runs from R6's host to R8's until it is told to stop. No more packets are
// under way than any ring holds, so each of them must arrive.
type traffic struct {
	*duo
	sent, received uint64
}

func (f *traffic) run(ctx context.Context) {
	ip := fromInside(numbered(make([]byte, 2048), 7, hostA4, hostB4, 60))
	for ctx.Err() == nil {
		for f.sent-f.received < 256 && f.r6.queues[rand.IntN(2)][inside].Deliver(ip) {
			f.sent++
		}
		f.turn()
	}
	for end := time.Now().Add(2 * time.Second); f.received < f.sent && time.Now().Before(end); {
		f.turn()
	}
}

func (f *traffic) turn() {
	f.r6.Group.Rouse()
	carry(f.r6, f.r8)
	f.r8.Group.Rouse()
	for w := range f.r8.queues {
		f.received += uint64(f.r8.queues[w][inside].Sent(func([]byte) {}))
	}
	runtime.Gosched()
}

func (d *duo) run(ctx context.Context) (wait func()) {
	var done []chan error
	for _, g := range []*gateway{d.r6, d.r8} {
		for _, w := range g.Group.Workers {
			c := make(chan error, 1)
			go func() { c <- w.Run(ctx, -1) }()
			done = append(done, c)
		}
	}
	return func() {
		for _, c := range done {
			must(d.t, <-c)
		}
	}
}

// Rekeys, re-adds and policy changes under traffic, with the workers in threads of
// their own. New before old, so nothing is lost: no packet is ever sealed with a key
// that is wiped or that the peer lacks.
func TestRekeyUnderTraffic(t *testing.T) {
	d := newDuo(t, 2, 4096)
	ctx, stop := context.WithCancel(context.Background())
	wait := d.run(ctx)
	now := d.child(0, 0, 1, "aes128gcm16")
	d.add(d.r8, now.r8in)
	d.add(d.r6, now.r6out)

	f := &traffic{duo: d}
	feeding, enough := context.WithCancel(context.Background())
	fed := make(chan struct{})
	go func() { defer close(fed); f.run(feeding) }()
	var old []child
	for n := 2; n < 120; n++ {
		next := d.child(n%2, n/2%2, n, "aes128gcm16")
		d.add(d.r8, next.r8in)
		d.add(d.r6, next.r6out)
		must(t, d.r6.Delete(keysock.Delete{Direction: sadb.Outbound, Pair: now.r6out.Pair}))
		if n%5 == 0 { // as after a restart of the control process: the numbers jump ahead
			again := next.r6out
			again.Sequence = 2000 // of which the old ones under way are not too late
			d.add(d.r6, again)
		}
		if n%7 == 0 {
			must(t, d.r6.PolicyAdd(tunnelPolicy()))
			must(t, d.r6.Refresh())
		}
		if old = append(old, now); len(old) > 40 { // the old inbound SA lingers
			must(t, d.r8.Delete(keysock.Delete{Direction: sadb.Inbound, Pair: old[0].r8in.SPI}))
			old = old[1:]
		}
		must(t, d.r6.Dump(func(keysock.Usage) error { return nil }))
		now = next
		time.Sleep(4 * time.Millisecond)
	}
	enough()
	<-fed
	stop()
	wait()
	t.Logf("%d packets, R6 %v, R8 %v", f.sent, d.r6.verdicts(), d.r8.verdicts())
	if f.sent == 0 || f.sent != f.received {
		t.Errorf("%d sent, %d received", f.sent, f.received)
	}
	for _, g := range []*gateway{d.r6, d.r8} {
		if ended, dropped := g.settled(); ended != f.sent || dropped != 0 {
			t.Errorf("of %d packets %d ended, verdicts %v", f.sent, ended, g.verdicts())
		}
	}
}
