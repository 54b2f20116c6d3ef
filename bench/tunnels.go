package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"spindle/tools/netlab"
)

// StartGateways runs a tunnel between both gateways of a lab. The lab stops it.
type StartGateways func(ctx context.Context, lab *netlab.Gateways) error

// tunnelPeer is something a user could run on the same two boxes.
type tunnelPeer struct {
	name   string
	start  StartGateways
	router bool // no tunnel at all
}

// traffic is one kind of load between the hosts.
type traffic struct {
	name, unit string
	iperf      []string
	flood      int // bytes of payload, by a flood and not by iperf3
}

// tunnelTraffic ends with what takes the hosts' interfaces from their stacks.
var tunnelTraffic = []traffic{
	{"TCP", "Gbit/s", nil, 0},
	{"UDP 1300 B at overload", "kpps", []string{"-u", "-b", "0", "-l", "1300"}, 0},
	{"UDP 64 B at overload", "kpps", []string{"-u", "-b", "0", "-l", "64"}, 0},
	{"UDP 1300 B by AF_XDP", "kpps", nil, 1300},
	{"UDP 64 B by AF_XDP", "kpps", nil, 64},
}

// tunnels compares tunnels between the same two gateways. Gateways and hosts share
// this machine's CPUs, so all of the work is in the figures.
func (c *Comparison) tunnels(ctx context.Context, o *CompareOptions) error {
	peers := []tunnelPeer{
		{name: "spindle", start: o.Gateways},
		{name: "kernel forwarding, no tunnel", start: func(context.Context, *netlab.Gateways) error { return nil }, router: true},
		{name: "strongSwan kernel-libipsec", start: strongSwan},
		{name: "wireguard-go", start: wireguard(o.Folder)},
	}
	figures := map[string]map[string][]float64{}
	failed := map[string]bool{}
	for range o.Repeats {
		for _, p := range peers {
			if failed[p.name] {
				continue
			}
			got, err := o.load(ctx, p)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed[p.name] = true
				c.miss(p.name, "%v", err)
				continue
			}
			if figures[p.name] == nil {
				figures[p.name] = map[string][]float64{}
			}
			for kind, value := range got {
				figures[p.name][kind] = append(figures[p.name][kind], value)
			}
			o.Say("veth %s: %v", p.name, got)
		}
	}
	if failed["spindle"] {
		return nil
	}
	for _, p := range peers[1:] {
		for _, t := range tunnelTraffic {
			if failed[p.name] {
				continue
			}
			ours, theirs := median(figures["spindle"][t.name]), median(figures[p.name][t.name])
			c.Ratios = append(c.Ratios, Ratio{Bench: "veth", Peer: p.name, Case: t.name, Unit: t.unit, Spindle: ours, Other: theirs, Ratio: ours / theirs})
		}
	}
	return nil
}

// load builds the lab, runs one peer in it and every kind of traffic.
func (o *CompareOptions) load(ctx context.Context, p tunnelPeer) (got map[string]float64, err error) {
	lab, err := netlab.NewGateways("compare", netlab.Options{ClearRoutes: p.router, Direct: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	if err := p.start(ctx, lab); err != nil {
		return nil, err
	}
	r, err := netlab.Ping(ctx, lab.A, lab.A4, lab.B4, 5, 200*time.Millisecond, 5*time.Second)
	if err != nil {
		return nil, err
	}
	if r.Received == 0 {
		return nil, errors.New("the tunnel carries no ping")
	}
	got = map[string]float64{}
	for _, t := range tunnelTraffic {
		if got[t.name], err = o.carry(ctx, lab, t); err != nil {
			return nil, fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return got, nil
}

// floodTrials are about how many trials a flood makes in the time of one run, and
// floodTrial how short a trial may be.
const (
	floodTrials = 5
	floodTrial  = 200 * time.Millisecond
)

func (o *CompareOptions) carry(ctx context.Context, lab *netlab.Gateways, t traffic) (rate float64, err error) {
	if t.flood == 0 {
		return iperf(ctx, lab, t, o.Time)
	}
	f, err := newFlood(ctx, lab, t.flood)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	return f.most(ctx, max(o.Time/floodTrials, floodTrial))
}

// iperfReport is what we read of iperf3 -J.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
		UDP struct {
			Packets float64 `json:"packets"`
			Lost    float64 `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
	} `json:"end"`
}

// iperfTries is how often a run is begun: a control connection can perish in the
// very overload that the run makes.
const iperfTries = 3

// iperf sends from A to B and returns what B received. Each try has a server of its
// own, as one whose client went away does not always take the next.
func iperf(ctx context.Context, lab *netlab.Gateways, t traffic, on time.Duration) (rate float64, err error) {
	for range iperfTries {
		if rate, err = iperfOnce(ctx, lab, t, on); err == nil || ctx.Err() != nil {
			break
		}
	}
	return rate, err
}

func iperfOnce(ctx context.Context, lab *netlab.Gateways, t traffic, on time.Duration) (float64, error) {
	server, err := lab.B.Start("iperf3", "-s", "-1")
	if err != nil {
		return 0, err
	}
	defer server.Stop()
	if err := listening(ctx, server); err != nil {
		return 0, err
	}
	seconds := strconv.Itoa(max(1, int(on.Round(time.Second)/time.Second)))
	argv := append([]string{"iperf3", "-J", "-c", lab.B4.String(), "-B", lab.A4.String(), "-t", seconds}, t.iperf...)
	ctx, cancel := context.WithTimeout(ctx, on+20*time.Second)
	defer cancel()
	out, err := lab.A.Run(ctx, argv...)
	if err != nil {
		return 0, fmt.Errorf("%w; the server says %q", err, server.Output())
	}
	return readIperf(out, t)
}

// listening waits until a server of iperf3 takes connections: its port stands in
// its namespace's table in state 0A, TCP_LISTEN (proc_pid_net(5)).
func listening(ctx context.Context, server *netlab.Process) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		for _, table := range []string{"tcp", "tcp6"} {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", server.PID, table)) // it may have ended
			for line := range strings.Lines(string(text)) {
				if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], ":1451") && f[3] == "0A" {
					return nil
				}
			}
		}
	}
	return errors.Join(fmt.Errorf("iperf3 does not listen: %q", server.Output()), ctx.Err())
}

// readIperf takes the figure that the traffic is measured by from a report.
func readIperf(out string, t traffic) (float64, error) {
	var report iperfReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return 0, fmt.Errorf("iperf3's report: %w", err)
	}
	if report.Error != "" {
		return 0, errors.New(report.Error)
	}
	if t.iperf == nil {
		return report.End.Received.BitsPerSecond / 1e9, nil
	}
	u := report.End.UDP
	if u.Seconds <= 0 {
		return 0, errors.New("iperf3 counted no time")
	}
	return (u.Packets - u.Lost) / u.Seconds / 1000, nil
}

// strongSwan runs charon with its own ESP on both gateways.
func strongSwan(ctx context.Context, lab *netlab.Gateways) error {
	host := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())} }
	r8 := netlab.StrongSwanConfig{
		Local: lab.R8Addr, Remote: lab.R6Addr, PSK: "compare", ESP: "aes128gcm16", LocalTS: host(lab.B4), RemoteTS: host(lab.A4),
	}
	r6 := r8
	r6.Local, r6.Remote, r6.LocalTS, r6.RemoteTS = r8.Remote, r8.Local, r8.RemoteTS, r8.LocalTS
	if _, err := netlab.StartStrongSwan(ctx, lab.R8, r8); err != nil {
		return err
	}
	initiator, err := netlab.StartStrongSwan(ctx, lab.R6, r6)
	if err != nil {
		return err
	}
	_, err = initiator.Initiate(ctx)
	return err
}

// wireguard runs wireguard-go on both gateways. The interfaces have different
// names, as their control sockets stand in one folder.
func wireguard(folder string) StartGateways {
	return func(ctx context.Context, lab *netlab.Gateways) error {
		if _, err := os.Stat(filepath.Join(folder, "wireguard")); err != nil {
			return errors.New("was not built")
		}
		keys := map[*netlab.NS]string{}
		for _, ns := range []*netlab.NS{lab.R6, lab.R8} {
			key, err := ns.Run(ctx, "wg", "genkey")
			if err != nil {
				return err
			}
			keys[ns] = filepath.Join(lab.Dir(), ns.Name+".wg")
			if err := os.WriteFile(keys[ns], []byte(key), 0o600); err != nil {
				return err
			}
		}
		name := func(ns *netlab.NS) string { return fmt.Sprintf("wg%s%d", ns.Name, os.Getpid()%100000) }
		for _, ns := range []*netlab.NS{lab.R6, lab.R8} {
			if _, err := ns.Start(filepath.Join(folder, "wireguard"), "-f", name(ns)); err != nil {
				return err
			}
		}
		return errors.Join(
			wireguardEnd(ctx, lab.R6, name(lab.R6), keys[lab.R6], keys[lab.R8], lab.R8Addr, lab.B4),
			wireguardEnd(ctx, lab.R8, name(lab.R8), keys[lab.R8], keys[lab.R6], lab.R6Addr, lab.A4))
	}
}

func wireguardEnd(ctx context.Context, ns *netlab.NS, name, key, peerKey string, peer, allowed netip.Addr) error {
	script := fmt.Sprintf(`for i in $(seq 100); do wg show %[1]s >/dev/null 2>&1 && break; sleep 0.05; done
wg set %[1]s private-key %[2]s listen-port 51820 peer "$(wg pubkey <%[3]s)" endpoint %[4]v:51820 allowed-ips %[5]v/32 &&
ip link set %[1]s mtu 1420 up && ip route add %[5]v/32 dev %[1]s`, name, key, peerKey, peer, allowed)
	out, err := ns.Run(ctx, "sh", "-c", script)
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(out))
	}
	return nil
}
