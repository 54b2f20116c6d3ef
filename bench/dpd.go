package bench

import (
	"context"
	"fmt"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
)

// DPDOptions say what to run.
type DPDOptions struct {
	Versions []int             // of IKE; empty: both
	Modes    []session.DPDMode // empty: periodic and on-demand
	Peers    int
	Time     time.Duration // on the engines' clock
	CPU      int
	Commit   string
}

// DPDRow is what dead peer detection with idle peers costs one gateway.
type DPDRow struct {
	Version int     `json:"version"`
	Mode    string  `json:"mode"`
	Peers   int     `json:"peers"`
	Seconds float64 `json:"seconds"` // on the engine's clock, which the bench drives

	Queries  uint64 `json:"queries"`  // that went out
	Answered uint64 `json:"answered"` // by the peers
	Steps    uint64 `json:"steps"`    // of the engine: timers that came, and messages

	// CPU of one core that a second of it takes, in milliseconds, and what one query
	// takes with its answer, in microseconds.
	MillisPerSecond float64 `json:"cpu_ms_per_s"`
	MicrosPerQuery  float64 `json:"cpu_us_per_query"`

	Machine Machine `json:"machine"`
}

// DPDNotMeasured is what the rows do not show.
var DPDNotMeasured = []string{
	"sockets and the socket pair to the data path: messages go from one engine to the other in memory",
	"the data path's part in on-demand detection: it looks at its SAs once in a while, and costs an idle peer's packets nothing, for there are none",
	"loss and peers that are dead",
}

const benchIKEv1 = "aes128-sha256-ecp256" // which knows no AEAD

// benchInterval is the default between two queries (D5).
const benchInterval = 10 * time.Second

// DPD measures a gateway with many idle peers, each of which has an IKE SA and a
// child SA. Its clock jumps from timer to timer, so that a minute takes as long as
// there is something to do.
func DPD(ctx context.Context, o DPDOptions, done func(DPDRow) error) error {
	machine := Fingerprint(o.Commit)
	unpin, err := pin(o.CPU)
	if err != nil {
		return err
	}
	defer unpin()
	if len(o.Versions) == 0 {
		o.Versions = []int{2, 1}
	}
	if len(o.Modes) == 0 {
		o.Modes = []session.DPDMode{session.DPDPeriodic, session.DPDOnDemand}
	}
	for _, version := range o.Versions {
		for _, mode := range o.Modes {
			ends, err := newEnds("psk")
			if err != nil {
				return err
			}
			if err := ends.speak(version); err != nil {
				return err
			}
			row := DPDRow{Version: version, Mode: mode.String(), Peers: o.Peers, Seconds: o.Time.Seconds(), Machine: machine}
			if err := ends.idle(ctx, mode, o.Time, &row); err != nil {
				return err
			}
			if err := done(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// idle opens all IKE SAs, spread over an interval as they would be by themselves,
// and then lets time pass at the server, which is who asks.
func (e *ends) idle(ctx context.Context, mode session.DPDMode, limit time.Duration, row *DPDRow) error {
	e.server.DPD = session.DPD{Mode: mode, Interval: benchInterval, Retry: 2 * time.Second, Tries: 5}
	e.client.DPD = session.DPD{Mode: session.DPDOff}
	clients := make([]session.Connection, row.Peers)
	for i := range clients {
		clients[i] = e.clientAt(i)
	}
	p := e.pair(clients)
	for i := range clients {
		if err := p.initiate(clients[i].Name, "first"); err != nil {
			return err
		}
		p.now = p.now.Add(benchInterval / time.Duration(row.Peers))
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	p.pass(ctx, time.Minute, &DPDRow{}) // what is left of the handshakes comes to its end
	if stands := p.server.Status(p.now); len(stands.IKE) != row.Peers || len(stands.Children) != row.Peers {
		return fmt.Errorf("the gateway holds %d IKE SAs and %d child SAs, want %d of each", len(stands.IKE), len(stands.Children), row.Peers)
	}
	p.serverTime = 0
	p.pass(ctx, limit, row)
	row.MillisPerSecond = p.serverTime.Seconds() * 1000 / limit.Seconds()
	if row.Queries > 0 {
		row.MicrosPerQuery = p.serverTime.Seconds() * 1e6 / float64(row.Queries)
	}
	return ctx.Err()
}

// pass lets time pass at the server, and its messages reach the client and return.
func (p *pairOfEngines) pass(ctx context.Context, limit time.Duration, row *DPDRow) {
	end := p.now.Add(limit)
	for ctx.Err() == nil {
		next := p.server.Deadline()
		if next.IsZero() || next.After(end) {
			break
		}
		p.now = next
		row.Steps++
		for _, query := range p.step(false, session.Tick{}) {
			row.Queries++
			for _, answer := range p.step(true, session.Datagram{Local: query.Remote, Remote: query.Local, Data: query.Data}) {
				row.Steps++
				row.Answered++
				p.step(false, session.Datagram{Local: answer.Remote, Remote: answer.Local, Data: answer.Data})
			}
		}
	}
	p.now = end
}

// speak makes both ends ones of a version of IKE.
func (e *ends) speak(version int) error {
	if version == 2 {
		return nil
	}
	proposal, err := suite.ParseIKE(benchIKEv1)
	if err != nil {
		return err
	}
	for _, c := range []*session.Connection{&e.client, &e.server} {
		c.Version, c.IKE = version, []suite.Proposal{proposal}
	}
	return nil
}
