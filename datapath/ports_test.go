package datapath_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spindle/bpf"
	"spindle/datapath"
	"spindle/datapath/packet"
)

func TestFindLinks(t *testing.T) {
	b := newNetbed(t, 3)
	b.veth("one0", "one1", 1, 1)
	b.veth("odd0", "odd1", 2, 1)
	links, err := datapath.FindLinks([]string{"near0"}, []string{"near0"})
	must(t, err)
	if len(links) != 1 || !links[0].Outside || !links[0].Inside || links[0].Queues != 3 || !links[0].Software || links[0].Port != 0 {
		t.Errorf("%+v", links)
	}
	links, err = datapath.FindLinks([]string{"one0", "one0"}, []string{"one1"})
	must(t, err)
	if len(links) != 2 || links[0].Inside || links[1].Outside || links[1].Port != 1 || links[1].Queues != 1 {
		t.Errorf("%+v", links)
	}
	if p := datapath.FIBPorts(links); len(p) != 2 || p[1].Index != 1 || p[1].Ifindex != links[1].Index {
		t.Errorf("%+v", p)
	}
	for name, c := range map[string]struct {
		outside, inside []string
		says            string
	}{
		"unknown":        {[]string{"eth77"}, nil, "eth77: no such interface"},
		"unequal queues": {[]string{"near0"}, []string{"one0"}, "port near0 has 3 receive queues and port one0 has 1"},
		"queues one way": {[]string{"odd0"}, nil, "2 receive queues and only 1 transmit"},
		"loopback":       {[]string{"lo"}, nil, "not an Ethernet interface"},
		"none":           {nil, nil, "no ports"},
	} {
		if _, err := datapath.FindLinks(c.outside, c.inside); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// veth adds a pair to the test's own namespace, up.
func (b *netbed) veth(name, peer string, rx, tx int) {
	b.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = name, rx, tx
	must(b.t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNumRxQueues: uint32(rx), PeerNumTxQueues: uint32(tx)}))
	b.configure(name)
	b.configure(peer)
}

// Real ports: the program attached, a socket on each queue, and a worker that
// seals what the far side sends. Closing leaves nothing, and may be done twice.
func TestPortsCarryAndClose(t *testing.T) {
	b := newNetbed(t, 2)
	b.veth("in0", "in1", 2, 2)
	steer, err := bpf.Load(bpf.Options{})
	must(t, err)
	links, err := datapath.FindLinks([]string{"near0"}, []string{"in0"})
	must(t, err)
	before := descriptors(t, "socket:")
	ports, err := datapath.OpenPorts(links, steer, bpf.Mode("auto"), "auto")
	must(t, err)
	t.Log(strings.Join(ports.Modes, "; "))
	if ports.Workers() != 2 || len(ports.Modes) != 2 || ports.Name(1) != "in0" || ports.Name(7) != "elsewhere" {
		t.Errorf("%d workers, %v", ports.Workers(), ports.Modes)
	}

	// The worker is polled here: a test of the rings, not of the threads.
	g := &gateway{t: t, slow: &slowPath{}, host: &hostRoutes{}, table: &routes{}, steer: &steering{}}
	o := r6Routes()
	g.table.table.Store(newTable(o))
	db := datapath.NewDB()
	group, err := datapath.NewGroup(ports.Queues(), db, g.table, g.slow)
	must(t, err)
	defer group.Close()
	g.Server = &datapath.Server{DB: db, Group: group, Steering: steer, Host: g.host, Routes: g.table}
	g.up(newTunnel(t, 0, 1, false, false, nil))

	ip := clearPacket(t, hostA4, hostB4, 100)
	mac := packet.MAC(links[1].HardwareAddr)
	b.inject("in1", frame(hostMAC, mac, ip))
	for deadline := time.Now().Add(2 * time.Second); g.verdicts()[packet.Forwarded] == 0 && time.Now().Before(deadline); {
		g.poll()
		time.Sleep(time.Millisecond)
	}
	if ended, dropped := g.settled(); ended != 1 || dropped != 0 {
		t.Errorf("verdicts %v", g.verdicts())
	}

	must(t, ports.Close())
	must(t, ports.Close())
	must(t, steer.Close())
	if n := descriptors(t, "socket:"); n != before {
		t.Errorf("%d sockets, %d before", n, before)
	}
	for _, l := range links {
		if link, err := netlink.LinkByIndex(l.Index); err != nil || link.Attrs().Xdp != nil && link.Attrs().Xdp.Attached {
			t.Errorf("%s still has a program: %v", l.Name, err)
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	if strings.Contains(string(maps), "socket:[") {
		t.Error("a ring is still mapped")
	}
	reopen(t, links)
}

// reopen shows that the queues are free again.
func reopen(t *testing.T, links []datapath.Link) {
	t.Helper()
	steer, err := bpf.Load(bpf.Options{})
	must(t, err)
	defer steer.Close()
	ports, err := datapath.OpenPorts(links, steer, bpf.Mode("auto"), "auto")
	must(t, err)
	must(t, ports.Close())
}

// inject sends a frame out of a link.
func (b *netbed) inject(name string, frame []byte) {
	b.t.Helper()
	l, err := netlink.LinkByName(name)
	must(b.t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(b.t, err)
	defer unix.Close(fd)
	must(b.t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}))
}

// When the second port cannot be opened, the first is given back whole.
func TestPortsFailWhole(t *testing.T) {
	b := newNetbed(t, 1)
	b.veth("in0", "in1", 1, 1)
	links, err := datapath.FindLinks([]string{"near0"}, []string{"in0"})
	must(t, err)
	before := descriptors(t, "socket:")
	steer, err := bpf.Load(bpf.Options{})
	must(t, err)
	defer steer.Close()
	in0, err := netlink.LinkByName("in0")
	must(t, err)
	must(t, netlink.LinkDel(in0))
	if _, err := datapath.OpenPorts(links, steer, bpf.Mode("auto"), "auto"); err == nil {
		t.Fatal("opened a port that is gone")
	}
	if n := descriptors(t, "socket:"); n != before {
		t.Errorf("%d sockets, %d before", n, before)
	}
	near, err := netlink.LinkByName("near0")
	must(t, err)
	if x := near.Attrs().Xdp; x != nil && x.Attached {
		t.Error("near0 still has a program")
	}
}

// A port that is deleted ends its worker, which has nothing to send and sleeps.
func TestDeletedPortEndsTheWorker(t *testing.T) {
	b := newNetbed(t, 1)
	b.veth("in0", "in1", 1, 1)
	links, err := datapath.FindLinks([]string{"in0"}, nil)
	must(t, err)
	steer, err := bpf.Load(bpf.Options{})
	must(t, err)
	defer steer.Close()
	ports, err := datapath.OpenPorts(links, steer, bpf.Mode("auto"), "auto")
	must(t, err)
	table := &routes{}
	table.table.Store(newTable(nil))
	group, err := datapath.NewGroup(ports.Queues(), datapath.NewDB(), table, &slowPath{})
	must(t, err)
	defer group.Close()
	done := make(chan error, 1)
	ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	go func() { done <- group.Workers[0].Run(ctx, -1) }()
	time.Sleep(20 * time.Millisecond)
	in0, err := netlink.LinkByName("in0")
	must(t, err)
	must(t, netlink.LinkDel(in0))
	if err := <-done; err == nil {
		t.Error("the worker did not notice")
	} else {
		t.Log(err)
	}
	_ = ports.Close() // the link is gone: its program went with it
}
