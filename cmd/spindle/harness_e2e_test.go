package main_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// spindle is the binary that every end-to-end test runs, built once.
var spindle = sync.OnceValues(func() (string, error) {
	path := filepath.Join(os.Getenv("SPINDLE_E2E"), "spindle")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// patience is for what happens by itself: the machine may be busy.
const patience = 15 * time.Second

// executable needs root as well, or the test is left out.
func executable(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it runs gateways in network namespaces")
	}
	exe, err := spindle()
	check(t, err)
	return exe
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bed is a lab with a gateway at each end of the wire, and what passes on it.
type bed struct {
	t *testing.T
	*netlab.Gateways
	exe    string
	wire   *netlab.Counter
	r6, r8 *testbed.Gateway
	swan   *netlab.StrongSwan // R8, if it is not ours
	sent   uint64             // packets in all streams that were to be carried
}

// newBed makes the lab. When the test is over nothing may be left of it.
func newBed(t *testing.T, name string, o netlab.Options) *bed {
	t.Helper()
	exe := executable(t)
	o.ClearRoutes = true
	lab, err := netlab.NewGateways(name, o)
	check(t, err)
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
		if left := lab.Leftovers(); len(left) > 0 {
			t.Errorf("left behind: %s", strings.Join(left, ", "))
		}
	})
	b := &bed{t: t, Gateways: lab, exe: exe}
	b.wire, err = lab.CountWire()
	check(t, err)
	t.Cleanup(func() { b.wire.Close() })
	return b
}

// spindles starts both gateways; change may alter what either is configured to do.
func (b *bed) spindles(change func(r6, r8 *testbed.Tunnel)) *bed {
	b.t.Helper()
	r6, r8 := testbed.R6(b.Gateways), testbed.R8(b.Gateways)
	if change != nil {
		change(&r6, &r8)
	}
	b.r8 = b.start(b.R8, r8.YAML())
	b.r6 = b.start(b.R6, r6.YAML())
	b.links()
	return b
}

// links waits until all of them run, or traffic would take the slow path.
func (b *bed) links() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	for _, ns := range []*netlab.NS{b.R6, b.R8} {
		check(b.t, ns.AwaitLink(ctx, "in0"))
		check(b.t, ns.AwaitLink(ctx, "out0"))
	}
}

// strongSwan starts ours as R6 and strongSwan as R8.
func (b *bed) strongSwan(change func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig)) *bed {
	b.t.Helper()
	r6, r8 := testbed.R6(b.Gateways), testbed.StrongSwan(b.Gateways)
	if change != nil {
		change(&r6, &r8)
	}
	var err error
	b.swan, err = netlab.StartStrongSwan(b.t.Context(), b.R8, r8)
	check(b.t, err)
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("log of strongSwan:\n%s", b.swan.Log())
		}
	})
	b.r6 = b.start(b.R6, r6.YAML())
	b.links()
	return b
}

// start runs a gateway. If the test fails its log is shown.
func (b *bed) start(ns *netlab.NS, config string) *testbed.Gateway {
	b.t.Helper()
	g, err := testbed.Start(b.t.Context(), b.Lab, ns, b.exe, config)
	check(b.t, err)
	b.t.Cleanup(func() {
		if b.t.Failed() {
			b.t.Logf("log of %s:\n%s", g.Name, g.Log())
		}
	})
	return g
}

// gateways are those that are ours.
func (b *bed) gateways() []*testbed.Gateway {
	if b.r8 == nil {
		return []*testbed.Gateway{b.r6}
	}
	return []*testbed.Gateway{b.r6, b.r8}
}

// ping wants an answer to every one of count requests.
func (b *bed) ping(from *netlab.NS, src, dst netip.Addr, count int) {
	b.t.Helper()
	r, err := netlab.Ping(b.t.Context(), from, src, dst, count, 50*time.Millisecond, 5*time.Second)
	check(b.t, err)
	if r.Received != count || r.Duplicates != 0 {
		b.t.Fatalf("ping %v to %v: %d of %d answered, %d twice, %v", src, dst, r.Received, r.Sent, r.Duplicates, r.SendError)
	}
}

// up brings the tunnel up with the first packet, which is not lost (P3).
func (b *bed) up() api.ChildSA {
	b.t.Helper()
	b.ping(b.A, b.A4, b.B4, 1)
	child, err := b.r6.AwaitChild(b.t.Context(), patience)
	check(b.t, err)
	return child
}

// stream is one direction of traffic.
type stream struct {
	from, to *netlab.NS
	src, dst netip.Addr
}

func (b *bed) ways(inner int) []stream {
	if inner == 6 {
		return []stream{{b.A, b.B, b.A6, b.B6}, {b.B, b.A, b.B6, b.A6}}
	}
	return []stream{{b.A, b.B, b.A4, b.B4}, {b.B, b.A, b.B4, b.A4}}
}

// flow sends all the streams at once and reports what became of them.
func flow(ctx context.Context, o netlab.BulkOptions, streams []stream) ([]netlab.BulkResult, error) {
	results, errs := make([]netlab.BulkResult, len(streams)), make([]error, len(streams))
	var running sync.WaitGroup
	for i, s := range streams {
		running.Go(func() {
			o := o
			o.Src, o.Dst = s.src, s.dst
			results[i], errs[i] = netlab.Bulk(ctx, s.from, s.to, o)
		})
	}
	running.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%v to %v: %w", streams[i].src, streams[i].dst, err)
		}
	}
	return results, nil
}

// arrived wants every packet of every stream, once and intact.
func arrived(t *testing.T, results []netlab.BulkResult) {
	t.Helper()
	for _, r := range results {
		if r.Received == 0 || r.Received != r.Sent || r.Duplicated+r.Corrupted+r.ChecksumErrors+r.SendErrors > 0 {
			t.Errorf("a stream lost packets: %+v", r)
		}
	}
}

// carry sends packets each way at once and accounts for every one: each arrives,
// each was sealed once, was on the wire as ESP once, and opened once.
func (b *bed) carry(inner int, o netlab.BulkOptions) {
	b.t.Helper()
	results, err := flow(b.t.Context(), o, b.ways(inner))
	check(b.t, err)
	arrived(b.t, results)
	for _, r := range results {
		b.sent += r.Sent
	}
	b.settled()
}

// account is what was counted so far: ESP on the wire, and the packets that each
// gateway of ours sent on, sealed or opened.
type account struct {
	ESP    uint64
	R6, R8 uint64
}

func (b *bed) account() (a account) {
	b.t.Helper()
	counts, err := b.wire.Read()
	check(b.t, err)
	a.ESP = counts.ESP.Frames + counts.ESPinUDP.Frames
	for _, g := range b.gateways() {
		v, err := g.Verdicts(b.t.Context())
		check(b.t, err)
		sent := v["forwarded"] + v["to_kernel"] // until its next hop is resolved, a packet goes by the kernel
		if g == b.r6 {
			a.R6 = sent
		} else {
			a.R8 = sent
		}
	}
	return a
}

// settled waits until the workers have published their counters, which must then
// agree with the wire since the gateways were started.
func (b *bed) settled() {
	b.t.Helper()
	var now account
	err := b.r6.Await(b.t.Context(), 3*time.Second, "account for every packet", func() bool {
		now = b.account()
		return now.ESP >= b.sent && now.R6 == now.ESP && (b.r8 == nil || now.R8 == now.ESP)
	})
	if err != nil {
		b.t.Errorf("forwarded packets do not add up: %+v, at least %d were sent\n%v", now, b.sent, err)
	}
}

// clean wants that nothing was dropped, save what is expected, and that there was
// nothing on the wire but ESP, IKE and what links need to work.
func (b *bed) clean(expected ...string) {
	b.t.Helper()
	b.noDrops(expected...)
	b.secret()
}

// noDrops is the half of clean about the gateways.
func (b *bed) noDrops(expected ...string) {
	b.t.Helper()
	for _, g := range b.gateways() {
		drops, err := g.Drops(b.t.Context())
		check(b.t, err)
		for where, n := range drops {
			if !slices.ContainsFunc(expected, func(e string) bool { return strings.HasSuffix(where, e) }) {
				b.t.Errorf("%s: %s: %d", g.Name, where, n)
			}
		}
	}
}

// secret is the other half, about the wire.

// fast wants most packets to have gone by the rings.
func (b *bed) fast() {
	b.t.Helper()
	for _, g := range b.gateways() {
		v, err := g.Verdicts(b.t.Context())
		check(b.t, err)
		if v["forwarded"] < 10*v["to_kernel"] {
			b.t.Errorf("%s sent too much by the kernel: %v", g.Name, v)
		}
	}
}

func (b *bed) secret() {
	b.t.Helper()
	counts, err := b.wire.Read()
	check(b.t, err)
	if counts.Clear.Frames+counts.Other.Frames+counts.Fragment.Frames+counts.Short > 0 {
		b.t.Errorf("on the wire: %v; samples %x", counts, b.wire.Samples())
	}
	if counts.IKE.Frames == 0 || counts.ESP.Frames+counts.ESPinUDP.Frames == 0 {
		b.t.Errorf("on the wire: %v, want IKE and ESP", counts)
	}
}

// native wants ESP as such on the wire, or only in UDP.
func (b *bed) native(want bool) {
	b.t.Helper()
	counts, err := b.wire.Read()
	check(b.t, err)
	if diff := cmp.Diff([]bool{want, !want}, []bool{counts.ESP.Frames > 0, counts.ESPinUDP.Frames > 0}); diff != "" {
		b.t.Errorf("ESP and ESP in UDP on the wire (-want +got):\n%s%v", diff, counts)
	}
}

// connection is what a gateway says of one of its connections.
func connection(t *testing.T, g *testbed.Gateway, name string) api.Connection {
	t.Helper()
	rows, err := testbed.Table[api.Connection](t.Context(), g, api.Connections)
	check(t, err)
	i := slices.IndexFunc(rows, func(c api.Connection) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("%s shows no connection %s: %+v", g.Name, name, rows)
	}
	return rows[i]
}

// children are the child SAs of a gateway in one state.
func children(t *testing.T, g *testbed.Gateway, state string) (list []api.ChildSA) {
	t.Helper()
	rows, err := testbed.Table[api.ChildSA](t.Context(), g, api.ChildSAs)
	check(t, err)
	for _, c := range rows {
		if c.State == state {
			list = append(list, c)
		}
	}
	return list
}
