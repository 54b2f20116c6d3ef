package datapath_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/datapath"
	"spindle/datapath/packet"
)

// A packet that arrives at another worker than its SA's owner is handed over,
// from where it comes and to whom it goes, and leaves by the owner's queue.
func TestHandOff(t *testing.T) {
	for _, owner := range []int{0, 1} {
		arriving := 1 - owner
		g := newGateway(t, options{workers: 2})
		tn := g.up(newTunnel(t, owner, 1, false, true, nil))
		out, in := clearPacket(t, hostA4, hostB4, 100), clearPacket(t, hostB4, hostA4, 100)
		g.through(arriving, inside, fromInside(out))
		g.through(arriving, outside, fromOutside(tn.sealed(t, in)))
		want := map[packet.Verdict]uint64{packet.HandedOff: 2, packet.Forwarded: 2}
		if diff := cmp.Diff(want, g.verdicts()); diff != "" {
			t.Errorf("owner %d: %s", owner, diff)
		}
		var sent [][]byte
		for _, port := range []int{outside, inside} {
			g.queues[owner][port].Sent(func(f []byte) { sent = append(sent, bytes.Clone(f[packet.EthernetLen:])) })
		}
		if len(sent) != 2 || !bytes.Equal(tn.opened(t, sent[0]), hopped(t, out)) || !bytes.Equal(sent[1], hopped(t, in)) {
			t.Errorf("owner %d sent %x", owner, sent)
		}
	}
}

// This host's own packets enter at worker 0 and reach any owner; what the kernel
// reassembled enters at its owner, however large.
func TestSlowPathReachesTheOwner(t *testing.T) {
	g := newGateway(t, options{workers: 3})
	tn := g.up(newTunnel(t, 2, 1, false, true, nil))
	g.Group.FromHost(clearPacket(t, addr("10.6.6.1"), hostB4, 100))
	g.Group.FromKernel(tn.sealed(t, clearPacket(t, hostB4, hostA4, 100)))
	g.Group.FromKernel(tn.sealed(t, clearPacket(t, hostB4, addr("10.6.1.1"), 50000)))
	g.poll()
	want := map[packet.Verdict]uint64{packet.HandedOff: 1, packet.Forwarded: 2, packet.ToKernel: 1}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

func TestFullHandOffIsCounted(t *testing.T) {
	g := newGateway(t, options{workers: 2})
	g.up(newTunnel(t, 1, 1, false, false, nil))
	f := fromInside(clearPacket(t, hostA4, hostB4, 10))
	for range datapath.HandoffSlots + 3 {
		if !g.queues[0][inside].Deliver(f) {
			t.Fatal("RX is full")
		}
	}
	for range datapath.HandoffSlots/64 + 1 {
		if _, err := g.Group.Workers[0].Poll(); err != nil {
			t.Fatal(err)
		}
	}
	want := map[packet.Verdict]uint64{packet.HandedOff: datapath.HandoffSlots, packet.DropHandoffFull: 3}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	g.poll()
	if n := len(g.sent(outside)); n != datapath.HandoffSlots {
		t.Errorf("%d frames sent", n)
	}
}

func TestFullSlowPathIsCounted(t *testing.T) {
	g := newGateway(t, options{})
	for range datapath.HandoffSlots {
		if !g.Group.FromHost([]byte{0}) {
			t.Fatal("refused too early")
		}
	}
	if g.Group.FromHost([]byte{0}) || g.Group.FromHost(make([]byte, 5000)) || g.Group.FromKernel(make([]byte, 1<<16)) {
		t.Error("took what has no room")
	}
	if diff := cmp.Diff([]uint64{2, 1}, g.Group.Counters().Values); diff != "" {
		t.Error(diff)
	}
}

// A rekey may give a policy to an SA of another owner while packets are on their
// way to the old one: they go on to the new owner, and are not lost.
func TestOwnerChangesDuringHandOff(t *testing.T) {
	g := newGateway(t, options{workers: 3})
	g.up(newTunnel(t, 1, 1, false, false, nil))
	if !g.queues[0][inside].Deliver(fromInside(clearPacket(t, hostA4, hostB4, 10))) {
		t.Fatal("RX is full")
	}
	w := g.Group.Workers[0]
	if _, err := w.Poll(); err != nil {
		t.Fatal(err)
	}
	w.Leave()
	next := newTunnel(t, 2, 2, false, false, nil)
	g.add(next)
	g.poll()
	want := map[packet.Verdict]uint64{packet.HandedOff: 2, packet.Forwarded: 1}
	if diff := cmp.Diff(want, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if frames := g.sent(outside); len(frames) != 1 || len(next.opened(t, frames[0][packet.EthernetLen:])) == 0 {
		t.Errorf("sent %x", frames)
	}
}
