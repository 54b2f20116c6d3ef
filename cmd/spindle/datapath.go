package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"spindle/bpf"
	"spindle/cmd/internal/config"
	"spindle/cmd/internal/supervise"
	"spindle/datapath"
	"spindle/datapath/esp"
	"spindle/datapath/fib"
	"spindle/datapath/tun"
	"spindle/sadb/keysock"
)

func datapathCommand() *cobra.Command {
	return childCommand("datapath", "The process of XDP, AF_XDP and ESP", joinDatapath)
}

// joinDatapath opens the ports, starts the workers and serves one keysock after
// the other: a new one comes whenever the control process was started again.
func joinDatapath(ctx context.Context, p *process) (err error) {
	d, err := openFreed(ctx, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ctx, stop := context.WithCancelCause(ctx)
	forwarding := make(chan struct{})
	go func() { defer close(forwarding); stop(d.forward(ctx)) }()
	defer func() { stop(nil); <-forwarding }()
	d.announce()
	if err := p.ready(); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return causeOf(ctx)
		case m, ok := <-p.messages:
			if !ok {
				return nil
			}
			if m.Kind == supervise.Keysock {
				d.converse(m)
			}
			m.Close()
		}
	}
}

// dying is how long the kernel may take to free what a killed gateway held: its
// process gives up the lock of the runtime directory before its last descriptor.
const dying = 3 * time.Second

// openFreed is openDataPath that waits for a killed gateway to be gone.
func openFreed(ctx context.Context, p *process) (*dataPath, error) {
	for deadline := time.Now().Add(dying); ; {
		d, err := openDataPath(p.log, *p.start.Datapath)
		held := errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EADDRINUSE)
		if !held || time.Now().After(deadline) {
			return d, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// causeOf is why a context ended, nil when it just did.
func causeOf(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) && !errors.Is(err, errOrphaned) {
		return err
	}
	return nil
}

// converse starts to talk to the control process at the other end of a new keysock.
func (d *dataPath) converse(m *supervise.Message) {
	f, err := m.Keysock()
	if err != nil {
		d.log.Error("take over the key socket", "error", err)
		return
	}
	c, err := keysock.New(f)
	if err != nil {
		d.log.Error("take over the key socket", "error", err)
		return
	}
	go d.serve(c)
}

// tunnelDevice is the slow path's interface.
const tunnelDevice = "spindle0"

// dataPath is the process that forwards packets, joined together: frames go from
// ports to workers and back; keysock messages go through server to the database
// that the workers read; what the workers cannot do goes to kernel.
type dataPath struct {
	log      *slog.Logger
	settings config.Datapath

	steer   *bpf.Steer
	routes  *fib.Mirror
	host    *tun.Device
	sockets *datapath.Sockets
	ports   *datapath.Ports
	group   *datapath.Group
	kernel  *datapath.Kernel
	server  *datapath.Server
	crypto  *esp.Crypto
	links   []datapath.Link

	control atomic.Pointer[keysock.Conn] // whoever is the control process now
	closers []func() error               // in the order of opening
}

// openDataPath opens everything and forwards nothing yet.
func openDataPath(log *slog.Logger, settings config.Datapath) (_ *dataPath, err error) {
	d := &dataPath{log: log, settings: settings}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	if d.crypto, err = chooseCrypto(); err != nil {
		return nil, err
	}
	links, err := datapath.FindLinks(settings.Outside, settings.Inside)
	if err != nil {
		return nil, err
	}
	if n := links[0].Queues; settings.Workers != 0 && settings.Workers != n {
		return nil, fmt.Errorf("workers: %d, but %s has %d receive queues: one worker serves one queue of each port, set `workers: %d` or `ethtool -L %s combined %d`",
			settings.Workers, links[0].Name, n, n, links[0].Name, settings.Workers)
	}
	if d.routes, err = fib.New(datapath.FIBPorts(links)); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.routes.Close)
	if err = d.routes.Sync(context.Background()); err != nil {
		return nil, err
	}
	if d.host, err = tun.Open(tunnelDevice, datapath.DefaultMTU); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.host.Close)
	if d.sockets, err = datapath.OpenSockets(tun.Mark); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.sockets.Close)
	return d, d.openPorts(links)
}

func (d *dataPath) openPorts(links []datapath.Link) (err error) {
	pins, err := pinDir(d.settings.FailClosed)
	if err != nil {
		return err
	}
	if d.steer, err = bpf.Load(bpf.Options{PinDir: pins}); err != nil {
		return err
	}
	d.closers = append(d.closers, d.steer.Close)
	if err = d.steer.SetLocalAddrs(d.routes.Table().LocalAddrs()); err != nil {
		return err
	}
	if err = d.steer.SetFailClosed(d.settings.FailClosed); err != nil {
		return err
	}
	guarded, err := guard(d.steer, d.settings.Protected)
	if err != nil {
		return err
	}
	if d.ports, err = datapath.OpenPorts(links, d.steer, bpf.Mode(d.settings.XDP), d.settings.UMEM); err != nil {
		return err
	}
	d.closers = append(d.closers, d.ports.Close)
	d.links = links

	if err = d.steer.Sweep(); err != nil {
		return err
	}
	db := datapath.NewDB()
	d.kernel = datapath.NewKernel(d.host, d.sockets)
	if d.group, err = datapath.NewGroup(d.ports.Queues(), db, d.routes, d.kernel); err != nil {
		return err
	}
	d.group.Prefer(d.settings.Priority)
	d.closers = append(d.closers, d.crypto.Close, func() error { d.group.Close(); d.server.Wipe(); return nil })
	d.server = &datapath.Server{
		DB: db, Group: d.group, Steering: guarded, Host: d.host, Routes: d.routes, Crypto: d.crypto,
		Counters: d.otherCounters, SendIKE: d.sockets.SendIKE, SendKeepalive: d.sockets.SendKeepalive,
	}
	return nil
}

// Close closes what was opened, last first.
func (d *dataPath) Close() error {
	var errs []error
	for i := len(d.closers) - 1; i >= 0; i-- {
		errs = append(errs, d.closers[i]())
	}
	d.closers = nil
	return errors.Join(errs...)
}

// forward runs the workers and what feeds them until ctx is done or one of them
// cannot go on.
func (d *dataPath) forward(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	start := func(run func() error) {
		running.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	for n, w := range d.group.Workers {
		start(func() error { return w.Run(ctx, d.cpu(n)) })
	}
	start(func() error { return d.routes.Run(ctx) })
	start(func() error { return d.followKernel(ctx) })
	start(func() error { return d.report(ctx) })
	start(func() error { return d.sweep(ctx) })
	go d.kernel.ReadHost(d.group)                                   // until the device is closed
	go d.sockets.Receive(d.kernel.Punt, d.intoGroup, d.unreachable) // until they are closed
	<-ctx.Done()
	running.Wait()
	return causeOf(ctx)
}

func (d *dataPath) intoGroup(ip []byte) { d.group.FromKernel(ip) }

// unreachable takes an ICMP error: it may tell of a path's MTU.
func (d *dataPath) unreachable(ip []byte) {
	if told, ok := d.server.Unreachable(ip); ok {
		d.log.Info("path MTU learned", "conn", told.Conn, "child", told.Child, "peer", told.Remote, "from", told.From,
			"path_mtu", told.Path, "tunnel_mtu", told.Inner)
	}
}

// cpu is where worker n runs: as configured, else the n-th CPU that this
// process may use.
func (d *dataPath) cpu(n int) int {
	if len(d.settings.CPUs) > 0 {
		return d.settings.CPUs[n%len(d.settings.CPUs)]
	}
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		return -1
	}
	n %= may.Count()
	for c := range len(may) * 64 {
		if may.IsSet(c) {
			if n == 0 {
				return c
			}
			n--
		}
	}
	return -1
}

// cpus are where the workers run, in their order.
func (d *dataPath) cpus() []int {
	var list []int
	for n := range d.group.Workers {
		list = append(list, d.cpu(n))
	}
	return list
}

// followKernel keeps the steering program's addresses and the tunnel device in
// step with the host, and ends when a port is gone.
func (d *dataPath) followKernel(ctx context.Context) error {
	var told []netip.Addr
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.routes.Changes():
		}
		table := d.routes.Table()
		for port := range d.ports.Modes {
			if table.Port(port) == (fib.PortState{}) {
				return fmt.Errorf("port %s is gone: the interface was deleted or moved away", d.ports.Name(port))
			}
		}
		if err := errors.Join(d.steer.SetLocalAddrs(table.LocalAddrs()), d.server.Refresh()); err != nil {
			d.log.Warn("follow the host's addresses and routes", "error", err)
		}
		if now := d.addresses(); !slices.Equal(now, told) && d.kernel.Report(keysock.Addresses{List: now}) {
			told = now
		}
	}
}

// addresses are what IKE may speak from.
func (d *dataPath) addresses() []netip.Addr {
	list, err := datapath.OuterAddresses(d.links)
	if err != nil {
		d.log.Warn("follow the host's addresses", "error", err)
	}
	return list
}

// sweep looks for idle SAs, for paths to try again, and whether the ports are as they
// were.
func (d *dataPath) sweep(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			d.server.SweepIdle(now, d.kernel.Report)
			d.server.ForgetPaths(now)
			if err := datapath.SameQueues(d.links); err != nil {
				return err
			}
		}
	}
}

// report passes what the workers say to the control process. Without one it is
// dropped: a new one asks for the state of the SAs itself.
func (d *dataPath) report(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-d.kernel.Reports:
			if c := d.control.Load(); c != nil {
				_ = c.Send(0, m) // a full socket counts it, a closed one is about to be replaced
			}
		}
	}
}

// serve talks to one control process until it is gone.
func (d *dataPath) serve(c *keysock.Conn) {
	hello := keysock.Hello{Workers: len(d.group.Workers), CPUs: d.cpus(), Crypto: d.crypto.String(), XDP: strings.Join(d.ports.Modes, "\n"), Policies: d.server.Policies()}
	if err := errors.Join(c.Send(0, hello), c.Send(0, keysock.Addresses{List: d.addresses()})); err != nil {
		c.Close()
		return
	}
	if old := d.control.Swap(c); old != nil {
		old.Close()
	}
	err := keysock.Serve(c, d.server)
	d.control.CompareAndSwap(c, nil)
	c.Close()
	if !errors.Is(err, keysock.ErrClosed) {
		d.log.Warn("conversation with the control process ended", "error", err)
	}
}

// otherCounters are what the workers do not count: lost reports, the sockets of
// the rings, and the XDP program with a set for each port.
func (d *dataPath) otherCounters(emit func(keysock.Counters) error) error {
	if err := errors.Join(emit(d.kernel.Counters()), d.ports.Counters(emit)); err != nil {
		return err
	}
	all, err := d.steer.Counters()
	if err != nil {
		return err
	}
	for _, port := range all {
		c := keysock.Counters{Source: "xdp " + d.ports.Name(port.Port)}
		for r, n := range port.Frames {
			c.Names = append(c.Names, bpf.Reason(r).String())
			c.Values = append(c.Values, n)
		}
		if err := emit(c); err != nil {
			return err
		}
	}
	return nil
}

// announce says at start what there is to work with.
func (d *dataPath) announce() {
	for _, mode := range d.ports.Modes {
		d.log.Info("port", "mode", mode)
	}
	sayFaulty(d.log, d.crypto)
	features := cryptoFeatures()
	if features == "" {
		d.log.Warn("this CPU has no AES instructions: AES-GCM runs in software, many times slower")
		features = "none"
	}
	d.log.Info("data path", "workers", len(d.group.Workers), "cpu_crypto", features, "aes_gcm", d.crypto)
}
