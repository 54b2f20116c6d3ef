package diagnose

import (
	"fmt"
	"strings"
	"time"
)

// liveness says what dead peer detection knows, and what it will do and when.
func liveness(f *Facts) finding {
	p := f.peer()
	if p == nil {
		return finding{}
	}
	says := fmt.Sprintf("DPD %s %.0fs/%.0fs/%d, last answer %s, any sign of life %s", p.Mode, p.Interval, p.Retry, p.Tries, since(f, p.LastReceived.Time), since(f, p.LastProof.Time))
	switch {
	case p.State != "established":
		return finding{says: says + "; there is no IKE SA to ask over"}
	case p.Outstanding:
		left := float64(p.Tries-p.Unanswered) * p.Retry
		says += fmt.Sprintf("; a query is out, %d of %d unanswered: the peer is declared dead within %.0f s", p.Unanswered, p.Tries, left)
	case p.Mode == "on-demand":
		says += fmt.Sprintf("; the next query goes out when packets leave and nothing authentic has come for %.0f s", p.Interval)
	case !p.NextQuery.IsZero():
		says += fmt.Sprintf("; the next query goes out in %.0f s", max(0, p.NextQuery.Sub(f.Now).Seconds()))
	case p.Mode == "off":
		says += "; nobody is asked: a dead peer stays undiscovered until the next rekey"
	}
	if p.Outstanding && p.Unanswered > 0 && f.hears() {
		found := blocked(f.Path.Peer, says, "its ESP still arrives and authenticates")
		return found
	}
	return finding{says: says}
}

// hears tells whether ESP of the peer authenticated just now.
func (f *Facts) hears() bool {
	for _, c := range f.installed() {
		if !c.LastIn.IsZero() && f.Now.Sub(c.LastIn.Time) < 2*time.Second {
			return true
		}
	}
	return false
}

func since(f *Facts, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return max(0, f.Now.Sub(t)).Round(100*time.Millisecond).String() + " ago"
}

// policy finds children that no packet can reach, because an earlier entry takes
// all that is theirs.
func policy(f *Facts) finding {
	for _, p := range f.Policies {
		if p.Shadow == "" {
			continue
		}
		says := fmt.Sprintf("%s/%s from %s to %s: all of it belongs to %s", p.Conn, p.Child, strings.Join(p.Local, " "), strings.Join(p.Remote, " "), p.Shadow)
		return finding{says: says, verdict: Shadowed,
			cause:  fmt.Sprintf("The policy of %s/%s is shadowed: every packet for it matches %s, which stands before it in the configuration.", p.Conn, p.Child, p.Shadow),
			action: fmt.Sprintf("Put %s/%s before %s in the configuration, or make the selectors of %s narrower.", p.Conn, p.Child, p.Shadow, p.Shadow)}
	}
	return finding{says: count(len(f.Policies), "entry", "entries") + ", none shadowed"}
}

func ikeSA(f *Facts) finding {
	if len(f.IKE) == 0 {
		return finding{says: "none"}
	}
	var all []string
	for _, sa := range f.IKE {
		all = append(all, fmt.Sprintf("%s to %s for %.0f s, %s", sa.State, sa.Remote, sa.Age, or(sa.Suite, "nothing chosen yet")))
	}
	return finding{says: strings.Join(all, "; ")}
}

// unknownSPIs: ESP for an SA that we lost, from a peer that nobody tells.
func unknownSPIs(f *Facts) finding {
	if len(f.Unknown) == 0 {
		return finding{says: "none from this peer"}
	}
	u := f.Unknown[0]
	says := fmt.Sprintf("%d packets from %s, the last %s for %s", u.Packets, u.Source, since(f, u.Last.Time), u.SPI)
	p := f.peer()
	if !f.sendsToLostSPIs() || f.established() != nil || p == nil || p.Recovery {
		return finding{says: says}
	}
	return finding{says: says, verdict: BlackHole,
		cause:  fmt.Sprintf("The peer %s sends on an SA that this gateway does not hold (%s), and nobody tells it: there is no IKE SA, and %s.", u.Source, u.SPI, p.RecoveryNote),
		action: "Write invalid_spi_recovery: true for the connection; now, spindle up " + f.Connection.Name + " makes new SAs and tells the peer."}
}

// childSA says why no child SA stands, when nothing before knew.
func childSA(f *Facts) finding {
	c := &f.Connection
	if list := f.installed(); len(list) > 0 {
		var all []string
		for _, ch := range list {
			all = append(all, fmt.Sprintf("%s %s, SPIs %s in %s out, age %.0f s", ch.Child, ch.State, ch.SPIIn, ch.SPIOut, ch.Age))
		}
		return finding{says: strings.Join(all, "; ")}
	}
	switch {
	case c.State == "connecting":
		return finding{says: "negotiation under way", verdict: Connecting,
			cause: "The negotiation is under way and nothing is wrong with it yet.", action: "Wait some seconds and ask again."}
	case c.LastError != "" && f.established() != nil, f.Now.Before(c.RetryAt.Time):
		return finding{says: "none"}
	case c.Start == byHand && c.LastError == "":
		return finding{says: "none", verdict: WaitsForUp,
			cause: "The connection is dialled by hand, and nobody has typed spindle up.", action: "Type spindle up " + c.Name + ", or write connect: auto."}
	case len(f.Hosts) == 0 || c.Start == "never":
		return finding{says: "none", verdict: WaitsForPeer,
			cause: "The connection only answers, and the peer has not called.", action: "Bring the tunnel up on the peer, or write start: traffic here if the peer's address is known."}
	case c.LastError == "" && len(f.Policies) == 0:
		return finding{says: "none", verdict: WaitsForUp,
			cause: "The tunnel was taken down, and what it carries is known only while it stands: no packet can ask for it.", action: "Type spindle up " + c.Name + "."}
	case c.LastError == "":
		return finding{says: "none", verdict: WaitsForTraffic,
			cause:  "The tunnel is down, and since then no packet for it has come to this gateway.",
			action: "Send traffic that matches children.local and children.remote, or type spindle up " + c.Name + "."}
	}
	return finding{says: "none"}
}
