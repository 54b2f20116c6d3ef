package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"
)

// PingResult is what became of a series of echo requests.
type PingResult struct {
	Sent       int
	Received   int
	Duplicates int
	First      int             // sequence number of the first answered one; Sent if there is none
	RTTs       []time.Duration // of the answered ones, by sequence number
	SendError  error           // the last refusal of the local stack, e.g. no route
}

const (
	icmpSize    = 8
	pingPayload = 56
)

// echo holds the ICMP and ICMPv6 types (RFC 792, RFC 4443 §4).
type echo struct {
	network        string
	request, reply byte
}

func echoFor(a netip.Addr) echo {
	if a.Is4() {
		return echo{"ip4:icmp", 8, 0}
	}
	return echo{"ip6:ipv6-icmp", 128, 129}
}

// Ping sends count echo requests from an address of the namespace, one each
// interval, and waits for the answers, for the last one at most timeout. An
// error is a fault of the lab; missing answers are in the result.
func Ping(ctx context.Context, from *NS, src, dst netip.Addr, count int, interval, timeout time.Duration) (PingResult, error) {
	kind := echoFor(dst)
	var conn *net.IPConn
	err := from.Do(func() (err error) {
		conn, err = net.ListenIP(kind.network, &net.IPAddr{IP: src.AsSlice()})
		return err
	})
	if err != nil {
		return PingResult{}, fmt.Errorf("open ping socket in %s: %w", from.Name, err)
	}
	defer conn.Close()
	p := &pinger{conn: conn, kind: kind, dst: &net.IPAddr{IP: dst.AsSlice()}, id: uint16(rand.Uint32()),
		sent: make([]time.Time, count), rtts: make([]time.Duration, count)}
	for seq := range count {
		p.send(seq)
		wait := interval
		if seq == count-1 {
			wait = timeout
		}
		if err := p.collect(ctx, time.Now().Add(wait), seq == count-1); err != nil {
			return p.result, err
		}
	}
	p.result.First = p.result.Sent
	for seq, rtt := range p.rtts {
		if p.answered(seq) {
			p.result.First = min(p.result.First, seq)
			p.result.RTTs = append(p.result.RTTs, rtt)
		}
	}
	return p.result, nil
}

// pinger sends and receives alternately, in one goroutine.
type pinger struct {
	conn   *net.IPConn
	kind   echo
	dst    *net.IPAddr
	id     uint16
	sent   []time.Time
	rtts   []time.Duration // 0: not answered
	result PingResult
	buf    [2048]byte
}

func (p *pinger) answered(seq int) bool { return p.rtts[seq] > 0 }

func (p *pinger) send(seq int) {
	msg := make([]byte, icmpSize+pingPayload)
	msg[0] = p.kind.request
	binary.BigEndian.PutUint16(msg[4:], p.id)
	binary.BigEndian.PutUint16(msg[6:], uint16(seq))
	for i := range pingPayload {
		msg[icmpSize+i] = byte(i)
	}
	if p.kind.request == 8 { // the kernel does it for ICMPv6
		binary.BigEndian.PutUint16(msg[2:], internetChecksum(msg))
	}
	p.sent[seq] = time.Now()
	p.result.Sent++
	if _, err := p.conn.WriteToIP(msg, p.dst); err != nil {
		p.result.SendError = err
	}
}

// collect takes answers until the deadline, or until all have come when it is
// the last time.
func (p *pinger) collect(ctx context.Context, until time.Time, last bool) error {
	stop := context.AfterFunc(ctx, func() { _ = p.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := p.conn.SetReadDeadline(until); err != nil {
		return err
	}
	for !last || p.result.Received < p.result.Sent {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, from, err := p.conn.ReadFromIP(p.buf[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ctx.Err()
		}
		if err != nil { // an ICMP error for an earlier request
			p.result.SendError = err
			if !time.Now().Before(until) {
				return nil
			}
			continue
		}
		if from.IP.Equal(p.dst.IP) {
			p.take(p.buf[:n], time.Now())
		}
	}
	return nil
}

func (p *pinger) take(msg []byte, now time.Time) {
	if len(msg) != icmpSize+pingPayload || msg[0] != p.kind.reply || binary.BigEndian.Uint16(msg[4:]) != p.id {
		return
	}
	seq := int(binary.BigEndian.Uint16(msg[6:]))
	if seq >= p.result.Sent {
		return
	}
	for i := range pingPayload {
		if msg[icmpSize+i] != byte(i) {
			return // damaged: as good as lost
		}
	}
	if p.answered(seq) {
		p.result.Duplicates++
		return
	}
	p.rtts[seq] = max(now.Sub(p.sent[seq]), 1)
	p.result.Received++
}

// internetChecksum is RFC 1071's, over an even number of bytes.
func internetChecksum(b []byte) uint16 {
	sum := uint32(0)
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
