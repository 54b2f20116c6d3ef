package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

func demoCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "demo",
		Short: "Two hosts, two gateways, a tunnel and traffic, in namespaces of this machine",
		Long: `Demo builds two hosts and two gateways in network namespaces, each gateway a real
spindle run on native XDP and AF_XDP, and sends traffic through the tunnel that
the first packet brings up. It prints what happened and leaves nothing behind.

Exit code 0 says that the tunnel carried traffic, nothing was lost, nothing was in
the clear on the wire, and nothing was left behind.`,
		Example: `  spindle demo
  spindle demo --peer strongswan --seconds 10
  spindle demo -o json`,
		Args: noArguments,
		RunE: runDemo,
	}
	c.Flags().String("peer", "spindle", "what R8 runs: spindle or strongswan")
	c.Flags().Int("seconds", 3, "how long bulk traffic runs each way")
	c.Flags().StringP("output", "o", "table", "table or json")
	return c
}

// demo is one run, and its result.
type demo struct {
	Peer            string   `json:"peer"`
	IKESuite        string   `json:"ike_suite"`
	Suite           string   `json:"suite"`
	Encap           bool     `json:"encap"`
	SPIIn           string   `json:"spi_in"` // seen from R6
	SPIOut          string   `json:"spi_out"`
	FirstMs         float64  `json:"first_packet_ms"` // negotiation included
	PingSent        int      `json:"ping_sent"`
	PingReceived    int      `json:"ping_received"`
	PacketsSent     uint64   `json:"packets_sent"`
	PacketsReceived uint64   `json:"packets_received"`
	Lost            uint64   `json:"lost"`
	MbitPerS        float64  `json:"mbit_per_s"` // of IP packets, the mean of both ways
	ESPOnWire       uint64   `json:"esp_packets_on_wire"`
	IKEOnWire       uint64   `json:"ike_packets_on_wire"`
	ClearOnWire     uint64   `json:"clear_packets_on_wire"`
	Drops           []string `json:"drops"` // where packets were lost, if any
	Leftovers       []string `json:"leftovers"`

	out     io.Writer // for people; io.Discard with JSON
	seconds int
	lab     *netlab.Gateways
	r6      *testbed.Gateway
	r8      *testbed.Gateway // nil when R8 is strongSwan
}

func runDemo(c *cobra.Command, _ []string) error {
	form, err := outputForm(c)
	if err != nil {
		return err
	}
	peer, _ := c.Flags().GetString("peer")
	seconds, _ := c.Flags().GetInt("seconds")
	if peer != "spindle" && peer != "strongswan" {
		return usagef("--peer %q: write spindle or strongswan", peer)
	}
	if seconds < 1 || seconds > 3600 {
		return usagef("--seconds %d: write 1 to 3600", seconds)
	}
	if os.Geteuid() != 0 {
		return errors.New("demo needs root: it makes network namespaces and attaches XDP programs in them")
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	d := &demo{Peer: peer, seconds: seconds, out: c.OutOrStdout(), Drops: []string{}, Leftovers: []string{}}
	if form == "json" {
		d.out = io.Discard
	}
	err = d.run(ctx)
	if ctx.Err() != nil {
		return errors.New("demo interrupted; everything it made is gone")
	}
	if err != nil {
		return err
	}
	if form == "json" {
		if err := printJSON(c.OutOrStdout(), d); err != nil {
			return err
		}
	}
	return d.verdict()
}

// run does everything and cleans up, however it ends.
func (d *demo) run(ctx context.Context) (err error) {
	if d.lab, err = netlab.NewGateways("demo", netlab.Options{ClearRoutes: true}); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, d.lab.Close())
		d.Leftovers = append(d.Leftovers, d.lab.Leftovers()...)
		d.sayEnd(err)
	}()
	d.sayTopology()
	if err := d.startGateways(ctx); err != nil {
		return err
	}
	wire, err := d.lab.CountWire()
	if err != nil {
		return err
	}
	defer wire.Close()
	for _, step := range []func(context.Context) error{d.ping, d.tunnel, d.bulk} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	counts, err := wire.Read()
	if err != nil {
		return err
	}
	d.ESPOnWire = counts.ESP.Frames + counts.ESPinUDP.Frames
	d.IKEOnWire, d.ClearOnWire = counts.IKE.Frames, counts.Clear.Frames
	d.say("wire", "%d ESP packets, %d IKE, %d in the clear", d.ESPOnWire, d.IKEOnWire, d.ClearOnWire)
	return d.losses(ctx)
}

func (d *demo) startGateways(ctx context.Context) (err error) {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	began := time.Now()
	if d.r6, err = testbed.Start(ctx, d.lab.Lab, d.lab.R6, exe, testbed.R6(d.lab).YAML()); err != nil {
		return err
	}
	if d.Peer == "strongswan" {
		err = testbed.StrongSwanR8(ctx, d.lab)
	} else {
		d.r8, err = testbed.Start(ctx, d.lab.Lab, d.lab.R8, exe, testbed.R8(d.lab).YAML())
	}
	if err != nil {
		return err
	}
	d.say("gateways", "running after %d ms: native XDP and AF_XDP on every port, no tunnel yet", time.Since(began).Milliseconds())
	return nil
}

// ping sends from both hosts. The first packet finds no SA, waits for the
// negotiation that it causes, and is not lost.
func (d *demo) ping(ctx context.Context) error {
	const count = 5
	for _, way := range []struct {
		from     *netlab.NS
		name     string
		src, dst netip.Addr
	}{{d.lab.A, "A to B", d.lab.A4, d.lab.B4}, {d.lab.B, "B to A", d.lab.B4, d.lab.A4}} {
		r, err := netlab.Ping(ctx, way.from, way.src, way.dst, count, 100*time.Millisecond, 2*time.Second)
		if err != nil {
			return err
		}
		d.PingSent += r.Sent
		d.PingReceived += r.Received
		if r.Received == 0 {
			return fmt.Errorf("ping %s: none of %d answered; R6 says: %s", way.name, r.Sent, d.reason(ctx))
		}
		first, last := r.RTTs[0], r.RTTs[len(r.RTTs)-1]
		if d.FirstMs == 0 {
			d.FirstMs = float64(first.Microseconds()) / 1000
			d.say("first packet", "A to B answered after %.1f ms, IKEv2 negotiation included", d.FirstMs)
		}
		d.say("ping", "%s: %d of %d answered, the last after %.2f ms", way.name, r.Received, r.Sent, last.Seconds()*1000)
	}
	return nil
}

// reason is why R6's connection is not up, in its own words.
func (d *demo) reason(ctx context.Context) string {
	rows, err := testbed.Table[api.Connection](ctx, d.r6, api.Connections)
	if err != nil || len(rows) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("connection %s is %s, %s", rows[0].Name, rows[0].State, rows[0].Reason)
}

// tunnel says what was negotiated.
func (d *demo) tunnel(ctx context.Context) error {
	ike, err := testbed.Table[api.IKESA](ctx, d.r6, api.IKESAs)
	if err != nil {
		return err
	}
	child, err := d.r6.AwaitChild(ctx, time.Second)
	if err != nil {
		return err
	}
	if len(ike) > 0 {
		d.IKESuite = ike[len(ike)-1].Suite
	}
	d.Suite, d.Encap, d.SPIIn, d.SPIOut = child.Suite, child.Encap, child.SPIIn, child.SPIOut
	carried := "native ESP"
	if child.Encap {
		carried = "ESP in UDP (the peer claims a NAT)"
	}
	d.say("IKE SA", "IKEv2, pre-shared key, %s", d.IKESuite)
	d.say("child SA", "%s in tunnel mode, %s, SPIs at R6: in %s out %s", d.Suite, carried, d.SPIIn, d.SPIOut)
	return nil
}

// bulk sends as fast as 64 unacknowledged packets allow, one way and then the other.
func (d *demo) bulk(ctx context.Context) error {
	const size = 1300 // fits strongSwan's tunnel device of 1400 bytes
	for _, way := range []struct {
		from, to *netlab.NS
		name     string
		src, dst netip.Addr
	}{{d.lab.A, d.lab.B, "A to B", d.lab.A4, d.lab.B4}, {d.lab.B, d.lab.A, "B to A", d.lab.B4, d.lab.A4}} {
		r, err := netlab.Bulk(ctx, way.from, way.to, netlab.BulkOptions{
			Src: way.src, Dst: way.dst, Size: size, Duration: time.Duration(d.seconds) * time.Second,
		})
		if err != nil {
			return err
		}
		d.PacketsSent += r.Sent
		d.PacketsReceived += r.Received
		d.Lost += r.Lost + r.Corrupted
		d.MbitPerS += r.MbitPerS / 2
		d.say("bulk", "%s: %d packets of %d bytes in %.1f s, %.0f Mbit/s, %d lost", way.name, r.Sent, size, r.Elapsed.Seconds(), r.MbitPerS, r.Lost)
	}
	return nil
}

// losses names every place where a gateway dropped something.
func (d *demo) losses(ctx context.Context) error {
	for _, g := range []*testbed.Gateway{d.r6, d.r8} {
		if g == nil {
			continue
		}
		drops, err := g.Drops(ctx)
		if err != nil {
			return err
		}
		for where, n := range drops {
			d.Drops = append(d.Drops, fmt.Sprintf("%s %s: %d", g.Name, where, n))
		}
	}
	if len(d.Drops) > 0 {
		d.say("drops", "%s", strings.Join(d.Drops, "; "))
	}
	return nil
}

// verdict is an error unless the demo showed what it is to show.
func (d *demo) verdict() error {
	var wrong []string
	check := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	check(d.PingReceived < d.PingSent, "%d pings of %d were lost", d.PingSent-d.PingReceived, d.PingSent)
	check(d.PacketsReceived == 0, "no bulk traffic passed")
	check(d.Lost > 0, "%d packets were lost", d.Lost)
	check(d.ESPOnWire == 0, "no ESP was on the wire")
	check(d.ClearOnWire > 0, "%d packets were in the clear on the wire", d.ClearOnWire)
	check(len(d.Leftovers) > 0, "left behind: %s", strings.Join(d.Leftovers, ", "))
	if len(wrong) > 0 {
		return fmt.Errorf("demo failed: %s", strings.Join(wrong, "; "))
	}
	return nil
}

func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "  %-13s %s\n", what, fmt.Sprintf(format, args...))
}

func (d *demo) sayTopology() {
	fmt.Fprintf(d.out, `Spindle demo: every box is a network namespace of this machine.

   host A              R6                                R8              host B
  10.6.6.6 ------- 192.0.2.6 ===== ESP and IKE ===== 192.0.2.8 ------- 10.8.8.8
                    spindle                          %-10s

`, d.Peer)
}

func (d *demo) sayEnd(err error) {
	if err != nil {
		return
	}
	if len(d.Leftovers) == 0 {
		d.say("clean-up", "nothing left behind")
	}
	if d.verdict() == nil {
		fmt.Fprintf(d.out, "\nThe tunnel carried %d packets at %.0f Mbit/s and lost none; nothing was in the clear.\n", d.PacketsReceived, d.MbitPerS)
	}
}
