package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/config"
	"spindle/cmd/internal/eaptls"
	"spindle/cmd/internal/metrics"
	"spindle/cmd/internal/supervise"
	"spindle/ike"
	"spindle/ike/session"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

func controlCommand() *cobra.Command {
	return childCommand("control", "The unprivileged process of IKE and the API", joinControl)
}

// control is the process that speaks IKE, joined together: events of the data
// path, the operator's requests and the clock become inputs of the engine; its
// outputs become keysock calls, in order. All of it happens on one goroutine.
type control struct {
	log    *slog.Logger
	events *api.Ring
	conf   *config.Config
	reload func(context.Context) error // asks the supervisor to read the file again

	spis   *sadb.Allocator
	engine *ike.Engine // nil until a data path said how many workers it has
	client *keysock.Client
	hello  keysock.Hello // of the data path that client leads to
	ledger ledger

	tallies   tallies
	verbose   bool // the log shows every IKE message
	debuggers int  // that follow them

	names     names // of peers
	resolving bool
	fetcher   *fetcher
	life      context.Context // of the process, for what runs beside the loop

	requests chan func() // from the API and the resolver
}

// callTimeout bounds one request to the data path, which does them in
// microseconds. One that does not answer is taken for dead.
const callTimeout = 3 * time.Second

// surveyInterval is how often the data path's sequence numbers are noted, so that
// its SAs can be installed again, ahead of them, when it dies.
const surveyInterval = 10 * time.Second

// joinControl serves the API and drives the engine over one keysock after the
// other: a new one comes whenever the data path was started again.
func joinControl(ctx context.Context, p *process) error {
	conf, err := p.start.Config()
	if err != nil {
		return err
	}
	listener, err := p.start.Listener()
	if err != nil {
		return err
	}
	ring := api.NewRing(1000)
	c := &control{
		log:      slog.New(ring.Handler(p.log.Handler())),
		events:   ring,
		conf:     conf,
		requests: make(chan func()),
		ledger:   newLedger(),
		names:    names{},
		fetcher:  newFetcher(),
		life:     ctx,
		verbose:  p.log.Enabled(ctx, slog.LevelDebug),
		tallies:  newTallies(),
	}
	reloads := newReloads(p)
	c.reload = reloads.ask
	apiDone := make(chan error, 1)
	apiCtx, stopAPI := context.WithCancel(context.WithoutCancel(ctx))
	go func() { apiDone <- api.Serve(apiCtx, listener, &backend{c}, p.log) }()
	defer func() { stopAPI(); <-apiDone }()
	c.serveMetrics(apiCtx)
	if err := p.ready(); err != nil {
		return err
	}
	return c.run(ctx, p.messages, reloads)
}

// serveMetrics answers Prometheus, if it is configured. A port that is taken stops
// no tunnel.
func (c *control) serveMetrics(ctx context.Context) {
	if !c.conf.Metrics.IsValid() {
		return
	}
	l, err := net.Listen("tcp", c.conf.Metrics.String())
	if err != nil {
		c.log.Error("metrics are not served: choose another address for `metrics`", "error", err)
		return
	}
	go func() {
		if err := metrics.Serve(ctx, l, &backend{c}, c.log); err != nil {
			c.log.Error("metrics", "error", err)
		}
	}()
}

// run is the loop of the process.
func (c *control) run(ctx context.Context, messages <-chan *supervise.Message, reloads *reloads) error {
	deadline := time.NewTimer(time.Hour)
	defer deadline.Stop()
	survey := time.NewTicker(surveyInterval)
	defer survey.Stop()
	lookUps := time.NewTicker(resolveEvery)
	defer lookUps.Stop()
	c.resolve(ctx)
	for {
		c.arm(deadline)
		select {
		case <-ctx.Done():
			c.shutdown()
			return nil
		case m, ok := <-messages:
			if !ok {
				return nil
			}
			if err := c.supervised(m, reloads); err != nil {
				return err
			}
			c.resolve(ctx)
		case m, ok := <-c.reports():
			if !ok {
				c.lost()
				continue
			}
			if err := c.reported(m); err != nil {
				return err
			}
		case do := <-c.requests:
			do()
		case <-survey.C:
			c.survey()
		case <-lookUps.C:
			c.resolve(ctx)
		case <-deadline.C:
			c.step(session.Tick{})
		}
	}
}

// reports is the data path's events; nil, which never delivers, without one.
func (c *control) reports() <-chan keysock.Message {
	if c.client == nil {
		return nil
	}
	return c.client.Events()
}

// arm sets the timer to the engine's deadline.
func (c *control) arm(t *time.Timer) {
	wait := time.Hour
	if c.engine != nil {
		if at := c.engine.Deadline(); !at.IsZero() {
			wait = max(0, time.Until(at))
		}
	}
	t.Reset(wait)
}

// supervised does what the supervisor says.
func (c *control) supervised(m *supervise.Message, reloads *reloads) error {
	defer m.Close()
	switch m.Kind {
	case supervise.Keysock:
		return c.connect(m)
	case supervise.Reloaded:
		reloads.answered(m)
	case supervise.Config:
		conf, err := m.Config()
		if err != nil {
			return fmt.Errorf("take over configuration: %w", err)
		}
		c.conf = conf
		c.log.Info("configuration", "summary", conf.Summary())
		c.setPolicies()
		c.step(session.ConfigChanged{Connections: c.names.expand(conf.Connections)})
	}
	return nil
}

// connect takes a new keysock in the place of the old one.
func (c *control) connect(m *supervise.Message) error {
	f, err := m.Keysock()
	if err != nil {
		return err
	}
	conn, err := keysock.New(f)
	if err != nil {
		return err
	}
	c.lost()
	c.client = keysock.NewClient(conn)
	return nil
}

// lost forgets the data path. SAs stay in the ledger for the next one.
func (c *control) lost() {
	if c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

// reported takes what the data path says into the engine.
func (c *control) reported(m keysock.Message) error {
	switch m := m.(type) {
	case keysock.Hello:
		return c.greet(m)
	case keysock.Punt:
		c.step(session.Datagram{Local: m.Local, Remote: m.Remote, Data: m.Data})
	case keysock.Addresses:
		c.step(session.AddressesChanged{Addresses: m.List})
	case keysock.Acquire:
		c.step(session.Acquire{Policy: m.Policy, Flow: m.Flow})
	case keysock.Expire:
		c.step(session.Expire{Pair: m.Pair, Hard: m.Hard, Cause: m.Cause})
	case keysock.Silence:
		c.step(session.Silence{Pair: m.Pair, LastIn: m.LastIn})
	case keysock.Moved:
		c.step(session.Moved{Pair: m.Pair, Remote: m.Remote})
	case keysock.UnknownSPI:
		c.tallies.unknown(m, time.Now())
		c.step(session.UnknownSPI{SPI: m.SPI, Local: m.Local, Remote: m.Remote, Packets: m.Packets})
	}
	return nil
}

// greet meets a data path: it may be new, or this process may be. The engine
// begins with the first one.
func (c *control) greet(h keysock.Hello) error {
	if c.engine != nil && h.Workers != c.hello.Workers {
		c.log.Warn("the data path has another number of workers", "workers", h.Workers, "before", c.hello.Workers)
		c.spis.Resize(h.Workers)
	}
	c.hello = h
	c.log.Info("data path", "workers", h.Workers, "cpu_crypto", h.Crypto)
	if c.engine == nil {
		c.spis = sadb.NewAllocator(h.Workers, rand.Reader)
		c.engine = ike.New(ike.Config{Rand: rand.Reader, SPIs: c.spis, CrashSecret: c.conf.CrashSecret, TLS: eaptls.New,
			Trace: c.tracing()})
		c.adopt()
		c.setPolicies()
		c.step(session.ConfigChanged{Connections: c.names.expand(c.conf.Connections)})
	} else {
		c.restore()
	}
	c.dropStalePolicies(h)
	return nil
}

// tracing: the log shows every IKE message, or somebody follows them.
func (c *control) tracing() bool { return c.debuggers > 0 || c.verbose }

// step gives the engine one input and does what comes out of it.
func (c *control) step(in session.Input) {
	if c.engine == nil {
		return
	}
	for _, out := range c.engine.Step(time.Now(), in) {
		c.apply(out)
	}
}

// apply does one thing that the engine wants. What the data path refuses is
// logged here: it is our own fault, never the peer's.
func (c *control) apply(out session.Output) {
	switch out := out.(type) {
	case session.Send:
		c.inject(keysock.Inject{Local: out.Local, Remote: out.Remote, Data: out.Data})
	case session.AddSA:
		c.rekeyed(out.SA)
		c.ledger.add(out.SA)
		c.call(keysock.Add{SA: out.SA})
		c.retireOrphans(out.SA)
	case session.UpdateSA:
		c.ledger.update(out)
		c.call(keysock.Update{Pair: out.Pair, Local: out.Local, Remote: out.Remote, Encap: out.Encap})
	case session.DeleteSA:
		c.gapOpens(out)
		c.ledger.remove(out.Direction, out.Pair)
		c.call(keysock.Delete{Direction: out.Direction, Pair: out.Pair})
	case session.Policy:
		c.ledger.policy(out)
		if out.Remove {
			c.call(keysock.PolicyDelete{ID: out.Policy.ID})
		} else {
			c.call(keysock.PolicyAdd{Policy: out.Policy})
		}
	case session.Address:
		c.ledger.address(out)
		c.call(keysock.HostAddress{Remove: out.Remove, Addr: out.Addr})
	case session.Keepalive:
		c.keepalive(keysock.Keepalive{Local: out.Local, Remote: out.Remote, Pairs: out.Pairs, Quiet: out.Quiet})
	case session.Fetch:
		c.fetch(out.URL)
	case session.Audit:
		c.tallies.note(out)
		c.log.LogAttrs(context.Background(), out.Level, out.Event, out.Attrs...)
	}
}

// call waits until the data path has done something. Without a data path the
// ledger keeps it for the next one.
func (c *control) call(m keysock.Message) {
	if c.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := c.client.Call(ctx, m); err != nil && !errors.Is(err, keysock.ErrClosed) {
		c.log.Error("data path", "error", err)
	}
}

// keepalive asks for a NAT keepalive. A lost one is made good by the next.
func (c *control) keepalive(m keysock.Keepalive) {
	if c.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	_ = c.client.Keepalive(ctx, m)
}

func (c *control) inject(m keysock.Inject) {
	if c.client == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := c.client.Inject(ctx, m); err != nil && !errors.Is(err, keysock.ErrClosed) {
		c.log.Error("send IKE message", "remote", m.Remote, "error", err)
	}
}

// shutdown takes leave of every peer.
func (c *control) shutdown() {
	c.step(session.Shutdown{})
	c.lost()
}
