package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"spindle/cmd/internal/api"
)

// deaf is how long packets leave without any that comes back before that is a
// reason to suspect the way.
const deaf = 5 * time.Second

// unheard finds a child SA that we send on and hear nothing from.
func (f *Facts) unheard() *api.ChildSA {
	for _, c := range f.installed() {
		heard := c.LastIn.Time
		if begun := f.Now.Add(-time.Duration(c.Age * float64(time.Second))); heard.Before(begun) {
			heard = begun
		}
		if c.PacketsOut > 0 && f.Now.Sub(c.LastOut.Time) < recent && c.LastOut.Sub(heard) > deaf {
			return &c
		}
	}
	return nil
}

// nat: behind a NAT, ESP and IKE share one mapping; when it is lost neither
// arrives, and only the peer can make a new one.
func nat(f *Facts) finding {
	sa := f.established()
	if sa == nil {
		return finding{}
	}
	says := "nobody is behind a NAT"
	if sa.NAT != "none" {
		says = "behind a NAT: " + sa.NAT + "; the peer is at " + sa.Remote
	}
	p := f.peer()
	if f.unheard() == nil || p == nil || p.Unanswered == 0 || sa.NAT != "remote" && sa.NAT != "both" {
		return finding{says: says}
	}
	return finding{says: says, verdict: NATMapping,
		cause:  fmt.Sprintf("The mapping of the NAT in front of the peer is lost: %s answers neither ESP nor IKE any more, and only packets of the peer can make a new mapping.", sa.Remote),
		action: "Let the peer send NAT keepalives more often than its NAT forgets (nat_keepalive there); one packet of the peer repairs it now."}
}

// traffic is the last authenticated packet each way.
func traffic(f *Facts) finding {
	var all []string
	for _, c := range f.installed() {
		all = append(all, fmt.Sprintf("%s: out %d, last %s; authenticated in %d, last %s", c.Child, c.PacketsOut, since(f, c.LastOut.Time), c.PacketsIn, since(f, c.LastIn.Time)))
	}
	says := strings.Join(all, "; ")
	c, p := f.unheard(), f.peer()
	if c == nil {
		return finding{says: says}
	}
	if p != nil && p.Unanswered > 0 {
		return unanswered(f, says)
	}
	return finding{says: says, verdict: ESPBlocked,
		cause:  fmt.Sprintf("ESP passes in one direction at most: packets leave for %s, none comes back, and IKE still works.", c.Remote),
		action: "Let " + protocolOf(c) + " pass in both directions on every firewall between the two; encap: force hides it in UDP 4500. If this traffic needs no answer, nothing is wrong."}
}

func protocolOf(c *api.ChildSA) string {
	if c.Encap {
		return "UDP 4500 with ESP in it"
	}
	return "IP protocol 50 (ESP)"
}

// suspicious are the drops that concern tunnels, of all tunnels together.
var suspicious = [...]string{"drop_selector", "drop_access_in", "drop_access_out", "drop_policy", "drop_clear", "drop_no_sa", "drop_replay", "drop_auth", "drop_too_big", "drop_no_route"}

func drops(f *Facts) finding {
	var all []string
	for _, c := range f.Children {
		if c.DropsIn+c.DropsOut > 0 {
			all = append(all, fmt.Sprintf("%s (%s): %d in, %d out", c.Child, c.SPIIn, c.DropsIn, c.DropsOut))
		}
	}
	for _, name := range suspicious {
		if n := f.counted(name); n > 0 {
			all = append(all, fmt.Sprintf("%s %d in all tunnels", name, n))
		}
	}
	if len(all) == 0 {
		return finding{says: "none"}
	}
	return finding{says: strings.Join(all, "; ")}
}

// mtu: small packets arrive, large ones vanish, and no router says so.
func mtu(f *Facts) finding {
	p := &f.Path
	switch {
	case p.Large == NotAsked:
		return finding{}
	case p.Large == Answered:
		return finding{says: fmt.Sprintf("packets of %d bytes arrive", p.Size)}
	case p.Signaled:
		return finding{says: fmt.Sprintf("packets of %d bytes are too large, and a router says so", p.Size)}
	case p.Host != Answered:
		return finding{says: "the peer's host answers no probe: what size arrives is not known"}
	}
	passes := "only small ones"
	if p.Passes > 0 {
		passes = fmt.Sprintf("those of %d", p.Passes)
	}
	port, _, _ := strings.Cut(p.Route, " ")
	return finding{
		says: fmt.Sprintf("packets of %d bytes vanish, %s arrive", p.Size, passes), verdict: MTUBlackHole,
		cause:  fmt.Sprintf("The way to the peer is an MTU black hole: packets of %d bytes vanish, %s arrive, and no router says so.", p.Size, passes),
		action: fmt.Sprintf("Set the MTU of %s to what passes (ip link set %s mtu %d), or let ICMP \"fragmentation needed\" through.", port, port, max(p.Passes, 1280)),
	}
}

func worker(f *Facts) finding {
	var all []string
	for _, c := range f.installed() {
		i := slices.IndexFunc(f.Workers, func(w api.Worker) bool { return w.Worker == c.Worker })
		if i < 0 {
			continue
		}
		w := &f.Workers[i]
		all = append(all, fmt.Sprintf("%s is worker %d's, which has %s and dropped %d of %d packets", c.Child, w.Worker, count(w.SAs, "SA pair", "SA pairs"), w.Dropped, w.Packets))
	}
	return finding{says: strings.Join(all, "; ")}
}
