package datapath_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

func acquires(list []keysock.Message) (ids []sadb.PolicyID) {
	for _, m := range list {
		if a, ok := m.(keysock.Acquire); ok {
			ids = append(ids, a.Policy)
		}
	}
	return ids
}

// P3: traffic that meets no SA asks for one and waits for it, in order.
func TestFirstPacketsWaitForTheirSA(t *testing.T) {
	g := newGateway(t, options{})
	must(t, g.PolicyAdd(tunnelPolicy()))
	var sent [][]byte
	for n := range 3 {
		ip := clearPacket(t, hostA4, hostB4, n)
		sent = append(sent, ip)
		g.through(0, inside, fromInside(ip))
	}
	own := clearPacket(t, addr("10.6.6.1"), hostB4, 50)
	g.Group.FromHost(own)
	g.poll()
	want := []keysock.Message{keysock.Acquire{Policy: tunnelID, Flow: sadb.Flow{
		Src: hostA4, Dst: hostB4, Protocol: packet.UDP, SrcPort: 1234, DstPort: 4321}}}
	if diff := diffMessages(want, g.slow.taken()); diff != "" {
		t.Error(diff)
	}

	tn := newTunnel(t, 0, 1, false, false, nil)
	g.add(tn)
	g.poll()
	frames := g.sent(outside)
	if len(frames) != 4 {
		t.Fatalf("%d frames, verdicts %v", len(frames), g.verdicts())
	}
	for i, f := range frames {
		want := own
		if i < len(sent) {
			want = hopped(t, sent[i])
		}
		if got := tn.opened(t, f[packet.EthernetLen:]); !bytes.Equal(got, want) {
			t.Errorf("packet %d is %x, want %x", i, got, want)
		}
	}
	if diff := cmp.Diff(map[packet.Verdict]uint64{packet.Queued: 4, packet.Forwarded: 4}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

func TestWaitingIsBoundedAndEnds(t *testing.T) {
	g := newGateway(t, options{})
	for id := range sadb.PolicyID(10) {
		p := tunnelPolicy()
		p.ID, p.Remote = id+1, selectors("10.8."+string('0'+byte(id))+".0/24")
		must(t, g.PolicyAdd(p))
	}
	for id := range 10 {
		for range 10 {
			g.through(0, inside, fromInside(clearPacket(t, hostA4, addr("10.8."+string('0'+byte(id))+".1"), 10)))
		}
	}
	if diff := cmp.Diff(map[packet.Verdict]uint64{packet.Queued: 64, packet.DropNoSA: 36}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if n := len(acquires(g.slow.taken())); n != 10 {
		t.Errorf("asked %d times for 10 policies", n)
	}
	g.Group.Workers[0].Later(6 * time.Second)
	g.poll()
	if diff := cmp.Diff(map[packet.Verdict]uint64{packet.Queued: 64, packet.DropNoSA: 100}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
	if n := g.Group.Workers[0].Waiting(); n != 0 {
		t.Errorf("%d packets still wait", n)
	}
	g.through(0, inside, fromInside(clearPacket(t, hostA4, addr("10.8.3.1"), 10)))
	if got := acquires(g.slow.taken()); !cmp.Equal(got, []sadb.PolicyID{4}) {
		t.Errorf("asked for %v after a while, want 4", got)
	}
}

// One SA comes, the other not: what still waits keeps its place.
func TestWaitingForTwo(t *testing.T) {
	g := newGateway(t, options{})
	other := tunnelPolicy()
	other.ID, other.Remote = 2, selectors("10.9.0.0/16")
	must(t, g.PolicyAdd(tunnelPolicy()))
	must(t, g.PolicyAdd(other))
	for range 3 {
		g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
		g.through(0, inside, fromInside(clearPacket(t, hostA4, addr("10.9.9.9"), 10)))
	}
	g.add(newTunnel(t, 0, 1, false, false, func(_, out *sadb.SA) { out.Policy = 2 }))
	g.poll()
	if n := len(g.sent(outside)); n != 3 {
		t.Errorf("%d frames", n)
	}
	g.add(newTunnel(t, 0, 2, false, false, nil))
	g.poll()
	if n := len(g.sent(outside)); n != 3 {
		t.Errorf("%d frames", n)
	}
	if n := g.Group.Workers[0].Waiting(); n != 0 {
		t.Errorf("%d packets still wait", n)
	}
}

// A policy that goes away takes its waiting packets with it.
func TestWaitingPolicyIsDeleted(t *testing.T) {
	g := newGateway(t, options{})
	must(t, g.PolicyAdd(tunnelPolicy()))
	g.through(0, inside, fromInside(clearPacket(t, hostA4, hostB4, 10)))
	must(t, g.PolicyDelete(tunnelID))
	g.poll()
	if diff := cmp.Diff(map[packet.Verdict]uint64{packet.Queued: 1, packet.DropPolicy: 1}, g.verdicts()); diff != "" {
		t.Error(diff)
	}
}

// Traffic to very many peers that do not answer must leave room for IKE: the
// policies take turns instead of asking all at once.
func TestAcquiresAreBounded(t *testing.T) {
	g := newGateway(t, options{})
	const policies = 300
	for id := range policies {
		p := tunnelPolicy()
		p.ID = sadb.PolicyID(id + 1)
		p.Remote = []sadb.Selector{sadb.PrefixSelector(prefix("10.9.0.0/32"))}
		p.Remote[0].First = addr("10.9.0.0").Prev()
		for range id + 1 {
			p.Remote[0].First = p.Remote[0].First.Next()
		}
		p.Remote[0].Last = p.Remote[0].First
		must(t, g.PolicyAdd(p))
	}
	asked := map[sadb.PolicyID]int{}
	for second := range 20 {
		dst := addr("10.9.0.0")
		for range policies {
			g.through(0, inside, fromInside(clearPacket(t, hostA4, dst, 0)))
			dst = dst.Next()
		}
		got := acquires(g.slow.taken())
		if len(got) > 64 {
			t.Fatalf("%d acquires in second %d", len(got), second)
		}
		for _, id := range got {
			asked[id]++
		}
		g.Group.Workers[0].Later(1100 * time.Millisecond)
	}
	t.Logf("%d of %d policies asked", len(asked), policies)
	if len(asked) != policies {
		t.Errorf("only %d of %d policies got their turn", len(asked), policies)
	}
}
