package main_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/datapath/tun"
	"spindle/tools/netlab"
)

// TestDatapathKilled: the control process installs the SAs again in the new data
// path. Traffic comes back by itself, and no sequence number is used twice: R8,
// which knows nothing of it, would count replays. With fail_closed nothing leaves
// in the clear meanwhile, although there is a route.
func TestDatapathKilled(t *testing.T) {
	b := newBed(t, "kill-dp", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.Gateway = []string{"fail_closed: true"}
	})
	b.up()
	b.carry(4, netlab.BulkOptions{Packets: 1000})
	before := pids(t, b.r6)
	check(t, b.r6.KillProcess("datapath"))
	b.recovers()
	after := pids(t, b.r6)
	if after[0] != before[0] || after[1] == before[1] || after[2] != before[2] {
		t.Errorf("processes run, datapath, control: %v, then %v", before, after)
	}
	results, err := flow(t.Context(), tenThousand, b.ways(4))
	check(t, err)
	arrived(t, results)
	b.noDrops("drop_unknown_spi", "drop_fail_closed")
	b.secret()
	b.r6.Stop()
	b.nothingLeft(b.R6)
}

// TestFailClosedAfterKill: while nothing runs, protected traffic is dropped; the
// next start takes the ports over, also when it is not to fail closed any more.
func TestFailClosedAfterKill(t *testing.T) {
	closed := testbed.Tunnel{}
	b := newBed(t, "closed", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.Gateway = []string{"fail_closed: true"}
		closed = *r6
	})
	b.up()
	check(t, b.r6.Kill())
	r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 5, 50*time.Millisecond, 200*time.Millisecond)
	check(t, err)
	if r.Received > 0 {
		t.Errorf("%d pings were answered while no gateway ran", r.Received)
	}
	b.secret()
	check(t, b.r6.Run(t.Context()))
	b.recovers()
	b.secret()
	check(t, b.r6.Kill())
	closed.Gateway = nil
	check(t, b.r6.Configure(closed.YAML()))
	check(t, b.r6.Run(t.Context()))
	b.recovers()
	b.r6.Stop()
	b.nothingLeft(b.R6)
}

// recovers waits until a ping passes, without anybody's help.
func (b *bed) recovers() {
	b.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		r, err := netlab.Ping(b.t.Context(), b.A, b.A4, b.B4, 1, 0, 200*time.Millisecond)
		check(b.t, err)
		if r.Received == 1 {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("traffic does not come back within %v", patience)
		}
	}
}

// TestControlKilled: the SAs go on forwarding and lose nothing. The new control
// process answers, and negotiates when it is asked to.
func TestControlKilled(t *testing.T) {
	b := newBed(t, "kill-control", netlab.Options{}).spindles(nil)
	first := b.up()
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 3 * time.Second, Rate: 2000, Window: 32}, b.ways(4))
		traffic <- err
	}()
	before := pids(t, b.r6)
	check(t, b.r6.KillProcess("control"))
	check(t, b.r6.Await(t.Context(), patience, "answer again", func() bool {
		_, err := testbed.Table[api.Connection](t.Context(), b.r6, api.Connections)
		pid, _ := b.r6.PID("control")
		return err == nil && pid != before[2] && pid != 0
	}))
	if held := children(t, b.r6, "orphaned"); len(held) != 1 || held[0].SPIIn != first.SPIIn {
		t.Errorf("child SAs of the earlier control process: %+v", held)
	}
	check(t, <-traffic)
	arrived(t, results)
	check(t, b.r6.Up(t.Context(), api.Target{Conn: "r8"}))
	next, err := b.r6.AwaitChild(t.Context(), patience)
	check(t, err)
	if next.SPIIn == first.SPIIn {
		t.Errorf("no new child SA was negotiated: %+v", next)
	}
	b.carry(4, netlab.BulkOptions{Packets: 1000})
	if after := pids(t, b.r6); after[0] != before[0] || after[1] != before[1] {
		t.Errorf("processes run, datapath, control: %v, then %v", before, after)
	}
	b.clean()
}

// TestEverythingKilled: nothing that is left stops the next start, and the tunnel
// comes up again with the peer that heard nothing.
func TestEverythingKilled(t *testing.T) {
	b := newBed(t, "kill-all", netlab.Options{}).spindles(nil)
	b.up()
	for range 2 {
		pid := pids(t, b.r6)
		check(t, errors.Join(syscall.Kill(pid[0], syscall.SIGKILL), syscall.Kill(pid[1], syscall.SIGKILL), syscall.Kill(pid[2], syscall.SIGKILL)))
		<-b.r6.Ended()
		if pins := b.pinned(); len(pins) > 0 {
			t.Errorf("pinned after kill -9: %v", pins)
		}
		check(t, b.r6.Run(t.Context()))
		b.recovers()
	}
	results, err := flow(t.Context(), netlab.BulkOptions{Packets: 1000}, b.ways(4))
	check(t, err)
	arrived(t, results)
	b.r6.Stop()
	b.nothingLeft(b.R6)
	b.secret()
}

// pinned are the BPF objects pinned in R6's namespace.
func (b *bed) pinned() (found []string) {
	for _, left := range b.Leftovers() {
		if strings.HasPrefix(left, "pin ") {
			found = append(found, left)
		}
	}
	return found
}

// nothingLeft wants a namespace as it was before the gateway: no tunnel device, no
// rule, no route and no XDP program.
func (b *bed) nothingLeft(ns *netlab.NS) {
	b.t.Helper()
	links, err := ns.Netlink().LinkList()
	check(b.t, err)
	for _, l := range links {
		if l.Attrs().Name == "spindle0" {
			b.t.Error("spindle0 is left behind")
		}
		if xdp := l.Attrs().Xdp; xdp != nil && xdp.Attached {
			b.t.Errorf("an XDP program is left on %s", l.Attrs().Name)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := ns.Netlink().RuleList(family)
		check(b.t, err)
		if slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Table == tun.Table }) {
			b.t.Errorf("a rule is left: %v", rules)
		}
		routes, err := ns.Netlink().RouteListFiltered(family, &netlink.Route{Table: tun.Table}, netlink.RT_FILTER_TABLE)
		check(b.t, err)
		if len(routes) > 0 {
			b.t.Errorf("routes are left: %v", routes)
		}
	}
	if pins := b.pinned(); len(pins) > 0 {
		b.t.Errorf("left: %v", pins)
	}
}

// TestTerminated: SIGTERM tells the peer, which is ours or strongSwan, and cleans up.
func TestTerminated(t *testing.T) {
	t.Run("spindle", func(t *testing.T) {
		b := newBed(t, "term", netlab.Options{}).spindles(nil)
		b.up()
		b.r6.Stop()
		check(t, b.r8.Await(t.Context(), patience, "hear the Delete", func() bool {
			sas, err := testbed.Table[api.IKESA](t.Context(), b.r8, api.IKESAs)
			return err == nil && len(sas) == 0
		}))
		if log := b.r8.Log(); !strings.Contains(log, "IKE SA deleted by peer") {
			t.Error("R8 does not say that R6 deleted the IKE SA")
		}
		b.nothingLeft(b.R6)
	})
	t.Run("strongSwan", func(t *testing.T) {
		b := newBed(t, "term-swan", netlab.Options{}).strongSwan(nil)
		b.up()
		b.r6.Stop()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for {
			sas, err := b.swan.ListSAs(ctx)
			check(t, err)
			if len(sas) == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		b.nothingLeft(b.R6)
	})
}

// TestReloaded: on SIGHUP a file with an error changes nothing and is explained; a
// good one adds a connection, and the tunnel that stands does not notice.
func TestReloaded(t *testing.T) {
	s := withStranger(t, "reload")
	traffic := make(chan error, 1)
	var results []netlab.BulkResult
	go func() {
		var err error
		results, err = flow(t.Context(), netlab.BulkOptions{Duration: 2 * time.Second, Rate: 2000, Window: 32}, s.ways(4))
		traffic <- err
	}()
	before := children(t, s.r6, "installed")
	own := testbed.R6(s.Gateways).YAML()
	another := s.r6Side
	another.Conn, another.RemoteTS = "added", prefixes("10.9.10.0/24")

	mark := len(s.r6.Log())
	check(t, s.r6.Configure(own+strings.Replace(another.Connection(), "10.9.10.0/24", "10.9.10.0/99", 1)))
	check(t, s.r6.Signal(syscall.SIGHUP))
	check(t, s.r6.Await(t.Context(), patience, "refuse the file", func() bool {
		log := s.r6.Log()[mark:]
		return strings.Contains(log, "configuration refused") && strings.Contains(log, "10.9.10.0/99")
	}))
	connection(t, s.r6, "r9") // still there

	check(t, s.r6.Configure(own+another.Connection()))
	check(t, s.r6.Signal(syscall.SIGHUP))
	check(t, s.r6.Await(t.Context(), patience, "take the new connection", func() bool {
		rows, err := testbed.Table[api.Connection](t.Context(), s.r6, api.Connections)
		return err == nil && len(rows) == 2 && rows[1].Name == "added"
	}))
	check(t, <-traffic)
	arrived(t, results)
	if after := children(t, s.r6, "installed"); len(after) != 1 || len(before) != 1 || after[0].SPIIn != before[0].SPIIn {
		t.Errorf("the tunnel was touched: %+v, then %+v", before, after)
	}
	s.noDrops()
}

// TestRuntimeDirAfterKill: a socket and a lock of a killed gateway are taken over,
// those of a living one are not.
func TestRuntimeDirAfterKill(t *testing.T) {
	b := newBed(t, "rundir", netlab.Options{}).spindles(nil)
	config := filepath.Join(filepath.Dir(b.r6.Runtime), "spindle.yaml")
	out, err := b.R6.Run(t.Context(), b.exe, "run", "--config", config, "--runtime-dir", b.r6.Runtime)
	if err == nil || !strings.Contains(out, "already runs") {
		t.Errorf("a second gateway in the same directory: %v: %s", err, out)
	}
	check(t, b.r6.Kill())
	if _, err := net.Dial("unix", api.SocketPath(b.r6.Runtime)); err == nil {
		t.Error("a killed gateway still answers")
	}
	if _, err := os.Stat(api.SocketPath(b.r6.Runtime)); err != nil {
		t.Errorf("the dead socket is what the next start has to cope with: %v", err)
	}
	check(t, b.r6.Run(t.Context()))
	b.up()
}
