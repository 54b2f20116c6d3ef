package datapath_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"spindle/datapath"
	"spindle/datapath/esp"
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/datapath/tun"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// The ports of a gateway under test.
const (
	outside = 0
	inside  = 1
)

var (
	outsideMAC = packet.MAC{2, 0, 0, 0, 0, 1}
	insideMAC  = packet.MAC{2, 0, 0, 0, 0, 2}
	peerMAC    = packet.MAC{2, 0, 0, 0, 0, 8}
	hostMAC    = packet.MAC{2, 0, 0, 0, 0, 6}
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// R6 and R8 of BEHAVIOUR.md, and the hosts behind them.
var (
	hostA4, hostB4 = addr("10.6.6.6"), addr("10.8.8.8")
	hostA6, hostB6 = addr("fd06::6"), addr("fd08::8")
	r6v4, r8v4     = addr("192.0.2.1"), addr("192.0.2.2")
	r6v6, r8v6     = addr("2001:db8::1"), addr("2001:db8::2")
)

// ends are the outer addresses of a tunnel, with the ports of NAT traversal.
func ends(v6 bool) (local, remote netip.AddrPort) {
	if v6 {
		return netip.AddrPortFrom(r6v6, 4500), netip.AddrPortFrom(r8v6, 4500)
	}
	return netip.AddrPortFrom(r6v4, 4500), netip.AddrPortFrom(r8v4, 4500)
}

func direct(port int, src, dst packet.MAC) fib.Adjacency {
	return fib.Adjacency{Kind: fib.Direct, SrcMAC: src, DstMAC: dst, Port: port, Ifindex: port + 2, MTU: 1500}
}

// r6Routes is what R6's mirror shows.
func r6Routes() map[netip.Prefix]fib.Adjacency {
	peer, host := direct(outside, outsideMAC, peerMAC), direct(inside, insideMAC, hostMAC)
	narrow := host
	narrow.MTU = 1280
	return map[netip.Prefix]fib.Adjacency{
		prefix("192.0.2.2/32"): peer, prefix("2001:db8::2/128"): peer, prefix("0.0.0.0/0"): peer,
		prefix("10.6.6.0/24"): host, prefix("fd06::/64"): host,
		prefix("10.6.1.0/24"):  {Kind: fib.Kernel, Port: inside, Ifindex: 3, MTU: 1500},
		prefix("10.6.2.0/24"):  {Kind: fib.Blackhole, Port: fib.NoPort},
		prefix("10.6.3.0/24"):  {Kind: fib.Unreachable, Port: fib.NoPort},
		prefix("10.6.4.0/24"):  narrow,
		prefix("192.0.2.3/32"): {Kind: fib.Prohibit, Port: fib.NoPort},
		prefix("192.0.2.4/32"): {Kind: fib.Kernel, Port: outside, Ifindex: 2, MTU: 1500},
	}
}

// slowPath remembers what it was given.
type slowPath struct {
	mu      sync.Mutex
	host    [][]byte
	raw     [][]byte
	reports []keysock.Message
	broken  bool // refuses everything
}

var errBroken = errors.New("slow path is broken")

func (s *slowPath) keep(list *[][]byte, ip []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errBroken
	}
	*list = append(*list, bytes.Clone(ip))
	return nil
}

func (s *slowPath) ToHost(ip []byte) error                     { return s.keep(&s.host, ip) }
func (s *slowPath) SendPacket(ip []byte, dst netip.Addr) error { return s.keep(&s.raw, ip) }

func (s *slowPath) Report(m keysock.Message) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.broken {
		s.reports = append(s.reports, m)
	}
	return !s.broken
}

func (s *slowPath) taken() (reports []keysock.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reports, s.reports = s.reports, nil
	return reports
}

// routes is a mirror that a test can change.
type routes struct{ table atomic.Pointer[fib.Table] }

func (r *routes) Table() *fib.Table { return r.table.Load() }

// steering and hostRoutes keep account as the kernel would.
type steering struct {
	spis     map[uint32]bool
	prefixes map[netip.Prefix]int
	homes    map[netip.Prefix]int
	full     int // refuses more prefixes than that, 0 never
}

func (s *steering) AddSPI(spi uint32) error    { s.spis[spi] = true; return nil }
func (s *steering) DeleteSPI(spi uint32) error { delete(s.spis, spi); return nil }

func (s *steering) AddPrefix(p netip.Prefix) error {
	if s.full > 0 && len(s.prefixes) == s.full {
		return errors.New("table is full")
	}
	s.prefixes[p]++
	return nil
}

func (s *steering) DeletePrefix(p netip.Prefix) error { return release(s.prefixes, p) }
func (s *steering) AddHome(p netip.Prefix) error      { s.homes[p]++; return nil }
func (s *steering) DeleteHome(p netip.Prefix) error   { return release(s.homes, p) }

func release(held map[netip.Prefix]int, p netip.Prefix) error {
	if held[p] == 0 {
		return fmt.Errorf("prefix %v is not held", p)
	}
	if held[p]--; held[p] == 0 {
		delete(held, p)
	}
	return nil
}

type hostRoutes struct {
	routes []tun.Route
	mtu    int
	addrs  []netip.Addr
	broken bool
}

func (h *hostRoutes) SetRoutes(r []tun.Route) error {
	if h.broken && len(r) > 0 {
		return errBroken
	}
	h.routes = r
	return nil
}

func (h *hostRoutes) SetMTU(mtu int) error { h.mtu = mtu; return nil }

func (h *hostRoutes) AddAddress(a netip.Addr) error { h.addrs = append(h.addrs, a); return nil }
func (h *hostRoutes) RemoveAddress(a netip.Addr) error {
	h.addrs = slices.DeleteFunc(h.addrs, func(o netip.Addr) bool { return o == a })
	return nil
}

// gateway is a data path whose ports are memory.
type gateway struct {
	*datapath.Server
	t      testing.TB
	slow   *slowPath
	steer  *steering
	host   *hostRoutes
	table  *routes
	queues [][]*datapath.MemoryQueue // by worker, then port
}

type options struct {
	workers int
	ports   []datapath.Port // without queues; default: outside and inside
	routes  map[netip.Prefix]fib.Adjacency
	frames  int
	quiet   bool // the slow path keeps nothing
	local   []netip.Addr
	wrap    func(*datapath.MemoryQueue) datapath.Queue
}

func newGateway(t testing.TB, o options) *gateway {
	t.Helper()
	if o.ports == nil {
		o.ports = twoPorts()
	}
	if o.routes == nil {
		o.routes = r6Routes()
	}
	g := &gateway{
		t: t, slow: &slowPath{}, host: &hostRoutes{}, table: &routes{},
		steer: &steering{spis: map[uint32]bool{}, prefixes: map[netip.Prefix]int{}, homes: map[netip.Prefix]int{}},
	}
	if o.local == nil {
		o.local = r6Local()
	}
	g.table.table.Store(fib.NewTable(o.routes, o.local...))
	var ports [][]datapath.Port
	for range max(1, o.workers) {
		own, queues := slices.Clone(o.ports), make([]*datapath.MemoryQueue, len(o.ports))
		for i := range own {
			queues[i] = datapath.NewMemoryQueue(max(1024, o.frames), 2048)
			if own[i].Queue = queues[i]; o.wrap != nil {
				own[i].Queue = o.wrap(queues[i])
			}
		}
		ports, g.queues = append(ports, own), append(g.queues, queues)
	}
	db := datapath.NewDB()
	var slow datapath.SlowPath = g.slow
	if o.quiet {
		slow = &silence{}
	}
	group, err := datapath.NewGroup(ports, db, g.table, slow)
	must(t, err)
	t.Cleanup(group.Close)
	crypto, err := esp.NewCrypto("auto")
	must(t, err)
	g.Server = &datapath.Server{DB: db, Group: group, Steering: g.steer, Host: g.host, Routes: g.table, Crypto: crypto,
		Counters: func(func(keysock.Counters) error) error { return nil }}
	t.Cleanup(func() { // also finds a key that outlived its SA
		g.Wipe()
		must(t, crypto.Close())
	})
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// poll runs every worker until none has work. In between they hold no snapshot,
// so that a change in the same goroutine does not wait for them.
func (g *gateway) poll() {
	g.t.Helper()
	for busy := true; busy; {
		busy = false
		for _, w := range g.Group.Workers {
			n, err := w.Poll()
			must(g.t, err)
			w.Leave()
			busy = busy || n > 0
		}
	}
}

// through delivers a frame to a worker's port and lets everybody work.
func (g *gateway) through(worker, port int, frame []byte) {
	g.t.Helper()
	if !g.queues[worker][port].Deliver(frame) {
		g.t.Fatal("RX ring is full")
	}
	g.poll()
}

// sent takes the frames that all workers sent by a port.
func (g *gateway) sent(port int) (frames [][]byte) {
	for _, queues := range g.queues {
		queues[port].Sent(func(f []byte) { frames = append(frames, bytes.Clone(f)) })
	}
	return frames
}

// verdicts sums up all workers, without zeros.
func (g *gateway) verdicts() map[packet.Verdict]uint64 {
	all := map[packet.Verdict]uint64{}
	for _, w := range g.Group.Workers {
		for v, n := range w.Verdicts() {
			if n > 0 {
				all[packet.Verdict(v)] += n
			}
		}
	}
	return all
}

// settled says how many packets met their end, and how many of them were lost.
func (g *gateway) settled() (ended, dropped uint64) {
	for v, n := range g.verdicts() {
		if !v.Interim() {
			ended += n
		}
		if v.Dropped() {
			dropped += n
		}
	}
	return ended, dropped
}

// tunnelID is the policy of the tunnel that the tests use.
const tunnelID sadb.PolicyID = 1

// selectors turns addresses and prefixes into a list.
func selectors(list ...string) (ts []sadb.Selector) {
	for _, s := range list {
		ts = append(ts, sadb.PrefixSelector(prefix(s)))
	}
	return ts
}

func tunnelPolicy() sadb.Policy {
	return sadb.Policy{
		ID: tunnelID, Priority: 100, Action: sadb.Protect, Acquire: true, Conn: "r8", Child: "lan",
		Local:  selectors("10.6.0.0/16", "fd06::/64"),
		Remote: selectors("10.8.8.8/32", "fd08::8/128"),
	}
}

// tunnel is one child SA: what R6 is told, and what its peer holds.
type tunnel struct {
	in, out sadb.SA
	seal    *esp.Outbound // the peer's
	open    *esp.Inbound
}

func key(n byte) sadb.Key { return bytes.Repeat([]byte{n}, 20) }

// newTunnel makes the SAs of a tunnel whose owner is worker; slot tells tunnels
// apart. change is applied to R6's SAs.
func newTunnel(t testing.TB, worker, slot int, v6, encap bool, change func(in, out *sadb.SA)) *tunnel {
	t.Helper()
	spi := sadb.NewSPI(worker, slot, 7)
	local, remote := ends(v6)
	p := tunnelPolicy()
	in := sadb.SA{
		SPI: spi, Pair: spi, Direction: sadb.Inbound, Suite: "aes128gcm16", Key: key(byte(2 * slot)), ReplayWindow: 4096,
		Local: local, Remote: remote, Encap: encap, LocalTS: p.Local, RemoteTS: p.Remote, Conn: "r8", Child: "lan",
	}
	out := in
	out.SPI, out.Direction, out.Key, out.Policy = 0xb0b00000+sadb.SPI(slot), sadb.Outbound, key(byte(2*slot+1)), tunnelID
	if change != nil {
		change(&in, &out)
	}
	return &tunnel{in: in, out: out, seal: peerSeal(t, in), open: peerOpen(t, out)}
}

// peerSeal and peerOpen are the other end of an SA.
func peerSeal(t testing.TB, in sadb.SA) *esp.Outbound {
	t.Helper()
	in.Direction, in.Local, in.Remote, in.Key = sadb.Outbound, in.Remote, in.Local, bytes.Clone(in.Key)
	o, err := esp.NewOutbound(&in)
	must(t, err)
	return o
}

func peerOpen(t testing.TB, out sadb.SA) *esp.Inbound {
	t.Helper()
	out.Direction, out.ReplayWindow, out.Key = sadb.Inbound, 4096, bytes.Clone(out.Key)
	i, err := esp.NewInbound(&out)
	must(t, err)
	return i
}

// up installs policy and tunnel.
func (g *gateway) up(tn *tunnel) *tunnel {
	g.t.Helper()
	must(g.t, g.PolicyAdd(tunnelPolicy()))
	g.add(tn)
	return tn
}

func (g *gateway) add(tn *tunnel) {
	g.t.Helper()
	for _, sa := range []sadb.SA{tn.in, tn.out} {
		sa.Key = bytes.Clone(sa.Key)
		must(g.t, g.Add(sa))
	}
}

func twoPorts() []datapath.Port {
	return []datapath.Port{{Name: "eth0", Outside: true}, {Name: "eth1", Inside: true, RepairChecksum: true}}
}

func threePorts() []datapath.Port {
	return append(twoPorts(), datapath.Port{Name: "eth2", Inside: true})
}

// onePort faces both networks.
func onePort() []datapath.Port { return []datapath.Port{{Name: "eth0", Outside: true, Inside: true}} }

func newTable(r map[netip.Prefix]fib.Adjacency) *fib.Table { return fib.NewTable(r, r6v4, r6v6) }
