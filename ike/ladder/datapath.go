package ladder

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"spindle/ike/session"
	"spindle/sadb"
)

func (w *World) addSA(g *Gateway, sa sadb.SA) {
	held := g.In
	if sa.Direction == sadb.Outbound {
		held = g.Out
		if _, ok := g.In[sa.Pair]; !ok {
			w.T.Errorf("%s: outbound SA without its inbound half", g.Name)
		}
		if _, ok := g.Policies[sa.Policy]; !ok {
			w.T.Errorf("%s: outbound SA for a policy that is not there", g.Name)
		}
	}
	if _, ok := held[sa.Pair]; ok {
		w.T.Errorf("%s: SA added twice", g.Name)
	}
	held[sa.Pair] = sa
	encap := ""
	if sa.Encap {
		encap = fmt.Sprintf(" encap %v", sa.Remote)
	}
	policy := ""
	if sa.Policy != 0 {
		policy = fmt.Sprintf(" policy %d", sa.Policy)
	}
	w.Say(g, "add %s SA %s %s%s%s%s", sa.Direction, w.spi(g, sa.Pair), sa.Suite, policy, encap, w.behind(g, sa))
}

// behind says what inside hosts are translated to. The SAs that do so have one owner.
func (w *World) behind(g *Gateway, sa sadb.SA) string {
	if !sa.Translate.IsValid() {
		return ""
	}
	for _, other := range g.In {
		if other.Conn == sa.Conn && other.Translate == sa.Translate && other.Pair.Worker() != sa.Pair.Worker() {
			w.T.Errorf("%s: mappings behind %v have two owners", g.Name, sa.Translate)
		}
	}
	return fmt.Sprintf(" behind %v", sa.Translate)
}

func (w *World) deleteSA(g *Gateway, o session.DeleteSA) {
	held := g.In
	if o.Direction == sadb.Outbound {
		held = g.Out
	}
	if _, ok := held[o.Pair]; !ok {
		w.T.Errorf("%s: delete of an SA that is not there", g.Name)
	}
	delete(held, o.Pair)
	w.Say(g, "delete %s SA %s", o.Direction, w.spi(g, o.Pair))
}

// updateSA moves both halves of a pair.
func (w *World) updateSA(g *Gateway, o session.UpdateSA) {
	from := ""
	for _, side := range []map[sadb.SPI]sadb.SA{g.In, g.Out} {
		if sa, ok := side[o.Pair]; ok {
			if sa.Local != o.Local || sa.Encap != o.Encap {
				from = fmt.Sprintf(" from %v encap=%v", o.Local, o.Encap)
			}
			sa.Local, sa.Remote, sa.Encap = o.Local, o.Remote, o.Encap
			side[o.Pair] = sa
		}
	}
	w.Say(g, "update %s to %v%s", w.spi(g, o.Pair), o.Remote, from)
}

func (w *World) policy(g *Gateway, o session.Policy) {
	p := o.Policy
	if o.Remove {
		delete(g.Policies, p.ID)
		w.Say(g, "remove policy %d", p.ID)
		return
	}
	g.Policies[p.ID] = p
	acquire := ""
	if p.Acquire {
		acquire = " acquire"
	}
	w.Say(g, "policy %d priority %d %s %v to %v%s", p.ID, p.Priority, p.Action, p.Local, p.Remote, acquire)
}

// keepalive is one octet that opens a mapping and reaches nobody's engine. The
// pairs are what the data path asks about traffic.
func (w *World) keepalive(g *Gateway, o session.Keepalive) {
	var pairs []string
	for _, pair := range o.Pairs {
		pairs = append(pairs, w.spi(g, pair))
	}
	w.Say(g, "keepalive %v to %v unless %v sent within %v", o.Local, o.Remote, pairs, o.Quiet)
}

// ping is an echo request.
func ping(src, dst string) sadb.Flow {
	return sadb.Flow{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst), Protocol: 1, SrcPort: 0x800, DstPort: 0x800}
}

// flow is an echo request, or with tcp=PORT the first of a connection.
func (words Words) flow() sadb.Flow {
	f := ping(words["src"], words["dst"])
	if port, err := strconv.ParseUint(words["tcp"], 10, 16); err == nil {
		f.Protocol, f.SrcPort, f.DstPort = 6, 40000, uint16(port)
	}
	return f
}

// Packet does what a data path does with a packet that no SA carries.
func (w *World) Packet(g *Gateway, flow sadb.Flow) {
	var best sadb.Policy
	for _, p := range g.Policies {
		match := slices.ContainsFunc(p.Local, func(s sadb.Selector) bool { return s.Matches(flow.Src, flow.Protocol, flow.SrcPort) }) &&
			slices.ContainsFunc(p.Remote, func(s sadb.Selector) bool { return s.Matches(flow.Dst, flow.Protocol, flow.DstPort) })
		if match && (best.ID == 0 || p.Priority < best.Priority) {
			best = p
		}
	}
	if best.ID == 0 {
		w.Say(g, "no policy for %s to %s", flow.Src, flow.Dst)
		return
	}
	w.Say(g, "acquire policy %d", best.ID)
	w.Step(g, session.Acquire{Policy: best.ID, Flow: flow})
}
