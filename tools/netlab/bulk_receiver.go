package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

type receiver struct {
	conn    *net.UDPConn
	pattern pattern
	unique  atomic.Uint64
	done    chan struct{}

	// Of the receiving goroutine; read by others after done.
	seen                             []uint64 // bit map by sequence number
	next                             uint64   // one more than the highest number
	duplicated, reordered, corrupted uint64
}

func newReceiver(conn *net.UDPConn, p pattern) *receiver {
	return &receiver{conn: conn, pattern: p, done: make(chan struct{})}
}

func (r *receiver) run() {
	defer close(r.done)
	buf := make([]byte, 65536)
	ack := make([]byte, ackSize)
	binary.BigEndian.PutUint64(ack, bulkMagic)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if r.take(buf[:n]) && buf[16] == 1 {
			binary.BigEndian.PutUint64(ack[8:], r.next)
			_, _ = r.conn.WriteToUDPAddrPort(ack, from) // a lost one costs the sender a stall
		}
	}
}

// maxPackets bounds the bit map against a damaged sequence number.
const maxPackets = 1 << 32

// take accounts for one packet and tells whether it was good.
func (r *receiver) take(buf []byte) bool {
	if len(buf) < bulkHeader || binary.BigEndian.Uint64(buf) != bulkMagic {
		r.corrupted++
		return false
	}
	seq := binary.BigEndian.Uint64(buf[8:])
	if seq >= maxPackets || !r.pattern.intact(buf, seq) {
		r.corrupted++
		return false
	}
	for uint64(len(r.seen)) <= seq/64 {
		r.seen = append(r.seen, 0)
	}
	bit := uint64(1) << (seq % 64)
	if r.seen[seq/64]&bit != 0 {
		r.duplicated++
		return true
	}
	r.seen[seq/64] |= bit
	if seq < r.next {
		r.reordered++
	} else {
		r.next = seq + 1
	}
	r.unique.Add(1)
	return true
}

// drain waits until all have come, or nothing has for a while.
func (r *receiver) drain(ctx context.Context, sent uint64) {
	had, since := r.unique.Load(), time.Now()
	for had < sent && time.Since(since) < drainQuiet && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
		if now := r.unique.Load(); now != had {
			had, since = now, time.Now()
		}
	}
	if had == sent {
		time.Sleep(20 * time.Millisecond) // duplicates come late
	}
}

func (r *receiver) account(out *BulkResult, o BulkOptions) {
	out.Received = r.unique.Load()
	out.Lost = out.Sent - out.Received
	out.Duplicated, out.Reordered, out.Corrupted = r.duplicated, r.reordered, r.corrupted
	if s := out.Elapsed.Seconds(); s > 0 {
		out.PacketsPerS = float64(out.Received) / s
		out.MbitPerS = out.PacketsPerS * float64(o.Size) * 8 / 1e6
	}
}

// udpErrors are counters of the namespace's UDP.
type udpErrors struct{ checksum, buffer uint64 }

func readUDPErrors(ns *NS, family netip.Addr) (udpErrors, error) {
	file := "/proc/thread-self/net/snmp"
	if family.Is6() {
		file += "6"
	}
	var text []byte
	err := ns.Do(func() (err error) {
		text, err = os.ReadFile(file)
		return err
	})
	if err != nil {
		return udpErrors{}, fmt.Errorf("read UDP counters: %w", err)
	}
	if family.Is6() {
		return udpErrors{snmp6(string(text), "Udp6InCsumErrors"), snmp6(string(text), "Udp6RcvbufErrors")}, nil
	}
	return udpErrors{snmp4(string(text), "InCsumErrors"), snmp4(string(text), "RcvbufErrors")}, nil
}

// snmp4 reads the column of the two lines "Udp: name ..." and "Udp: value ...".
func snmp4(text, name string) uint64 {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Udp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i := range names {
			if names[i] == name && i < len(fields) {
				n, _ := strconv.ParseUint(fields[i], 10, 64)
				return n
			}
		}
	}
	return 0
}

func snmp6(text, name string) uint64 {
	for line := range strings.Lines(text) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			return n
		}
	}
	return 0
}
