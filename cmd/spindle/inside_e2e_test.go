package main_test

import (
	"net/netip"
	"strings"
	"testing"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// client makes R6 a client that asks for an inside address; what it reaches is
// what R8 protects.
func client(r6 *testbed.Tunnel) {
	r6.LocalTS, r6.Lines = nil, append(r6.Lines, "virtual_ip: request")
}

// lease waits until a gateway shows just one lease, and returns it.
func (b *bed) lease(g *testbed.Gateway, ours bool) (lease api.Lease) {
	b.t.Helper()
	check(b.t, g.Await(b.t.Context(), patience, "show one lease", func() bool {
		rows, err := testbed.Table[api.Lease](b.t.Context(), g, api.Leases)
		if err != nil || len(rows) != 1 {
			return false
		}
		lease = rows[0]
		return true
	}))
	if lease.Ours != ours {
		b.t.Errorf("%s shows %+v", g.Name, lease)
	}
	return lease
}

// released waits until no address is leased.
func (b *bed) released(g *testbed.Gateway) {
	b.t.Helper()
	check(b.t, g.Await(b.t.Context(), patience, "show no lease", func() bool {
		rows, err := testbed.Table[api.Lease](b.t.Context(), g, api.Leases)
		return err == nil && len(rows) == 0
	}))
}

// hosts reports whether the kernel of a namespace has the address on spindle0.
func hosts(t *testing.T, ns *netlab.NS, addr string) bool {
	t.Helper()
	out, err := ns.Command(t.Context(), "ip", "-o", "addr", "show", "dev", "spindle0").CombinedOutput()
	if err != nil {
		t.Fatalf("ip addr: %v\n%s", err, out)
	}
	return strings.Contains(string(out), " "+addr+"/")
}

// reach pings the host behind R8 from the client's inside address.
func (b *bed) reach(inside string) {
	b.t.Helper()
	b.ping(b.R6, netip.MustParseAddr(inside), b.B4, 5)
}

func TestInsideAddress(t *testing.T) {
	b := newBed(t, "inside", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
		client(r6)
		r8.RemoteTS, r8.Lines = nil, []string{"pool: {addresses: [10.9.0.0/29], dns: [10.8.0.53], subnets: [10.8.0.0/16]}"}
		r6.RemoteTS, r8.LocalTS = r6.RemoteTS[:1], r8.LocalTS[:1]
	})
	ours, theirs := b.lease(b.r6, true), b.lease(b.r8, false)
	if ours.Address != "10.9.0.1" || theirs.Address != ours.Address || theirs.Peer != b.R6Addr.String() ||
		len(ours.DNS) != 1 || ours.DNS[0] != "10.8.0.53" || len(ours.Subnets) != 1 {
		t.Errorf("the client has %+v, the server gave %+v", ours, theirs)
	}
	if !hosts(t, b.R6, ours.Address) {
		t.Error("the address is not on spindle0")
	}
	b.reach(ours.Address)
	check(t, b.r6.KillProcess("datapath"))
	check(t, b.r6.Await(t.Context(), patience, "put the address on the new spindle0", func() bool {
		out, err := b.R6.Command(t.Context(), "ip", "-o", "addr", "show", "dev", "spindle0").CombinedOutput()
		return err == nil && strings.Contains(string(out), " "+ours.Address+"/")
	}))
	check(t, b.r6.Down(t.Context(), api.Target{Conn: "r8"}))
	b.released(b.r6)
	b.released(b.r8)
	if hosts(t, b.R6, ours.Address) {
		t.Error("the address is still on spindle0")
	}
}

// TestInsideAddressFromStrongSwan: strongSwan is the server, rekeys, and the
// client keeps its address.
func TestInsideAddressFromStrongSwan(t *testing.T) {
	b := newBed(t, "inside-from", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		client(r6)
		r6.RemoteTS = r6.RemoteTS[:1]
		r8.RemoteTS = nil
		r8.ConnLines = []string{"pools = inside"}
		r8.Sections = []string{"pools {", "inside {", "addrs = 10.9.0.0/29", "dns = 10.8.0.53", "}", "}"}
	})
	ours := b.lease(b.r6, true)
	if !strings.HasPrefix(ours.Address, "10.9.0.") || len(ours.DNS) != 1 || !hosts(t, b.R6, ours.Address) {
		t.Errorf("lease %+v", ours)
	}
	b.reach(ours.Address)
	check(t, b.swan.RekeyIKE(t.Context()))
	check(t, b.swan.RekeyChild(t.Context()))
	b.reach(ours.Address)
	if again := b.lease(b.r6, true); again.Address != ours.Address {
		t.Errorf("after a rekey the lease is %+v", again)
	}
}

// TestInsideAddressForStrongSwan: strongSwan is the client of ours.
func TestInsideAddressForStrongSwan(t *testing.T) {
	b := newBed(t, "inside-for", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		r6.RemoteTS, r6.LocalTS = nil, r6.LocalTS[:1]
		r6.Lines = []string{"pool: {addresses: [10.9.0.0/29], dns: [10.6.0.53]}", "start: never"}
		r8.LocalTS = nil
		r8.ConnLines = []string{"vips = 0.0.0.0"}
	})
	if text, err := b.swan.Initiate(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	given := b.lease(b.r6, false)
	if given.Address != "10.9.0.1" {
		t.Errorf("lease %+v", given)
	}
	b.ping(b.R8, netip.MustParseAddr(given.Address), b.A4, 5)
	check(t, b.swan.RekeyIKE(t.Context()))
	b.ping(b.R8, netip.MustParseAddr(given.Address), b.A4, 5)
	check(t, b.swan.Terminate(t.Context()))
	b.released(b.r6)
}
