package diagnose

import (
	"fmt"
	"strings"
)

func configuration(f *Facts) finding {
	c := &f.Connection
	remote := strings.Join(f.Hosts, " ")
	if len(f.Hosts) == 0 {
		remote = "any"
	}
	return finding{says: fmt.Sprintf("IKEv%d from %s to %s, start: %s, children: %s", c.Version, or(c.Local, "whatever the peer reaches"), remote, c.Start, strings.Join(f.Configured, ", "))}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func resolution(f *Facts) finding {
	if len(f.Hosts) == 0 {
		return finding{says: "the peer calls us: it has no configured address"}
	}
	if len(f.Peers) == 0 {
		names := strings.Join(f.Hosts, ", ")
		return finding{
			says: "no address for " + names, verdict: Unresolved,
			cause:  "None of the peer's names has an address now: " + names + ".",
			action: "Repair the name service, or write addresses for remote.addresses.",
		}
	}
	return finding{says: "goes to " + or(f.Path.Peer, f.Peers[0].Peer)}
}

func dataPath(f *Facts) finding {
	if f.Datapath != "" {
		return finding{
			says: f.Datapath, verdict: NoDatapath,
			cause:  "The data path does not run: " + f.Datapath + ".",
			action: "Look in the log of spindle run for why it stopped; it is started again by itself.",
		}
	}
	var ports []string
	if len(f.Workers) > 0 {
		ports = f.Workers[0].Ports
	}
	return finding{says: count(len(f.Workers), "worker", "workers") + "; " + strings.Join(ports, "; ")}
}

func route(f *Facts) finding {
	switch {
	case f.Path.Peer == "":
		return finding{}
	case f.Path.RouteError != "":
		return finding{
			says: "to " + f.Path.Peer + ": " + f.Path.RouteError, verdict: NoRoute,
			cause:  fmt.Sprintf("This host has no route to the peer %s (%s).", f.Path.Peer, f.Path.RouteError),
			action: "Add one: ip route add " + f.Path.Peer + " via GATEWAY, and look whether the outside interface has its address.",
		}
	}
	return finding{says: fmt.Sprintf("to %s: %s", f.Path.Peer, f.Path.Route)}
}

// nextHop: a neighbour that does not answer explains every silence behind it.
func nextHop(f *Facts) finding {
	p := &f.Path
	switch {
	case p.Neighbour == NeighbourAnswers:
		return finding{says: p.NextHop + " answers on the link"}
	case p.Neighbour == NeighbourUnknown:
		return finding{}
	case p.NextHop == p.Peer:
		return finding{
			says: p.NextHop + " does not answer on the link", verdict: PeerDown,
			cause:  "The peer " + p.Peer + " is down: it is on our own link and does not even answer address resolution.",
			action: "Start the peer, or look at its cable, its interface and its address.",
		}
	}
	return finding{
		says: p.NextHop + " does not answer on the link", verdict: NextHopDown,
		cause:  fmt.Sprintf("The router %s on the way to the peer %s is down: it does not answer address resolution.", p.NextHop, p.Peer),
		action: "Repair the router, or give the host another route to " + p.Peer + ".",
	}
}
