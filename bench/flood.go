package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"spindle/datapath/packet"
	"spindle/tools/netlab"
)

// flood sends from one host of a lab to the other past their IP stacks, by AF_XDP at
// both: on a machine whose CPUs hosts and gateways share, iperf3 and the stacks
// beneath it take more of them than a fast gateway does, and then it is those that
// are compared. The gateways see ordinary UDP packets.
type flood struct {
	from, to *farEnd
	frame    []byte // the packet, but for its number
	frames   [64][]byte
	sent     uint64 // in all
	first    uint64 // number of the trial's first packet
	received uint64 // of this trial
}

// floodPort is where packets go that count.
const floodPort = 20550

// floodStamp is where in a frame the packet's number stands.
const floodStamp = packet.EthernetLen + packet.IPv4Len + packet.UDPLen

func newFlood(ctx context.Context, lab *netlab.Gateways, payload int) (_ *flood, err error) {
	f := &flood{frame: make([]byte, floodStamp+payload)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	var macs [3]packet.MAC
	for i, end := range []netlab.End{{NS: lab.A, Name: "eth0"}, {NS: lab.R6, Name: "in0"}, {NS: lab.B, Name: "eth0"}} {
		link, err := end.NS.Netlink().LinkByName(end.Name)
		if err != nil {
			return nil, fmt.Errorf("%s in %s: %w", end.Name, end.NS.Name, err)
		}
		copy(macs[i][:], link.Attrs().HardwareAddr)
	}
	eth := packet.Ethernet{Dst: macs[1], Src: macs[0], Type: packet.EtherTypeIPv4}
	eth.Put(f.frame)
	ip := f.frame[packet.EthernetLen:]
	putInner(ip, lab.A4, lab.B4, len(ip))
	binary.BigEndian.PutUint16(ip[packet.IPv4Len+2:], floodPort)
	binary.BigEndian.PutUint16(ip[packet.IPv4Len+6:], 0) // no UDP checksum (RFC 768)
	// The host that is flooded answers no ARP any more.
	if _, err := lab.R8.Run(ctx, "ip", "neigh", "replace", lab.B4.String(), "lladdr", macText(macs[2]), "dev", "in0", "nud", "permanent"); err != nil {
		return nil, err
	}
	if err := lab.A.Do(func() (err error) { f.from, err = openFarEnd("eth0"); return err }); err != nil {
		return nil, err
	}
	return f, lab.B.Do(func() (err error) { f.to, err = openFarEnd("eth0"); return err })
}

func (f *flood) close() error {
	var errs []error
	for _, e := range []*farEnd{f.from, f.to} {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	return errors.Join(errs...)
}

// Rates that are tried: each a quarter more than the one before, until that has
// brought nothing for a few times.
const (
	leastFlood  = 20_000
	mostFlood   = 4_000_000
	floodStep   = 1.25
	floodInVain = 4
)

// most returns the most packets per second that arrived, whatever was sent, in
// thousands.
func (f *flood) most(ctx context.Context, on time.Duration) (best float64, err error) {
	for rate, vain := float64(leastFlood), 0; rate < mostFlood && vain < floodInVain; rate *= floodStep {
		got, err := f.trial(ctx, rate, on)
		if err != nil {
			return 0, err
		}
		vain++
		if got > 1.02*best {
			vain = 0
		}
		best = max(best, got)
	}
	if best == 0 {
		return 0, errors.New("nothing arrived")
	}
	return best / 1000, nil
}

// floodPause is how long the sender leaves the CPU to others between two bursts.
const floodPause = 50 * time.Microsecond

// trial sends at a rate for so long and returns how many packets a second arrived.
func (f *flood) trial(ctx context.Context, rate float64, on time.Duration) (float64, error) {
	f.first, f.received = f.sent, 0
	start := time.Now()
	for now := start; now.Sub(start) < on; now = time.Now() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		due := min(uint64(now.Sub(start).Seconds()*rate)-(f.sent-f.first), uint64(len(f.frames)))
		if err := f.send(due); err != nil {
			return 0, err
		}
		if f.receive() == 0 && due < uint64(len(f.frames)) {
			time.Sleep(floodPause)
		}
	}
	took := time.Since(start)
	for quiet := time.Now(); f.received < f.sent-f.first && time.Since(quiet) < settling; {
		if f.receive() > 0 {
			quiet = time.Now()
		} else {
			time.Sleep(floodPause)
		}
	}
	return float64(f.received) / took.Seconds(), nil
}

func (f *flood) send(n uint64) error {
	for range n {
		frame := f.from.Reserve()
		if frame == nil {
			break
		}
		copy(frame, f.frame)
		binary.BigEndian.PutUint64(frame[floodStamp:], f.sent)
		f.from.Submit(len(f.frame))
		f.sent++
	}
	return f.from.Flush()
}

// receive counts what arrived of this trial, and returns how many frames came at all.
func (f *flood) receive() int {
	n := f.to.Peek(f.frames[:])
	for _, frame := range f.frames[:n] {
		if len(frame) == len(f.frame) && binary.BigEndian.Uint16(frame[floodStamp-6:]) == floodPort &&
			binary.BigEndian.Uint64(frame[floodStamp:])-f.first < f.sent-f.first {
			f.received++
		}
	}
	f.to.Release()
	return n
}
