package ladder

import (
	"fmt"
	"slices"
	"strings"

	"spindle/ike/session"
	"spindle/sadb"
)

// Print writes a line of the ladder.
func (w *World) Print(format string, args ...any) {
	fmt.Fprintf(&w.Log, "%9.3f ", w.Now.Sub(Midnight).Seconds())
	fmt.Fprintf(&w.Log, format+"\n", args...)
}

// Say writes what a gateway does.
func (w *World) Say(g *Gateway, format string, args ...any) {
	w.Print("    "+g.Name+": "+format, args...)
}

// spi names an SPI by who chose it and when.
func (w *World) spi(g *Gateway, spi sadb.SPI) string {
	if name, ok := w.names[spi.String()]; ok {
		return name
	}
	count := 1
	for _, name := range w.names {
		if strings.HasPrefix(name, g.Name+".") {
			count++
		}
	}
	name := fmt.Sprintf("%s.%d", g.Name, count)
	w.names[spi.String()] = name
	return name
}

// attrs prints what an operator reads, but nothing that looks different each time.
func (w *World) attrs(a session.Audit) string {
	var b strings.Builder
	for _, at := range a.Attrs {
		value := at.Value.String()
		switch at.Key {
		case "conn", "peer", "key_in", "key_out", "spi_i", "spi_r":
			continue
		}
		if name, ok := w.names[value]; ok {
			value = name
		}
		fmt.Fprintf(&b, " %s=%q", at.Key, value)
	}
	return b.String()
}

func attr(a session.Audit, key string) string {
	for _, at := range a.Attrs {
		if at.Key == key {
			return at.Value.String()
		}
	}
	return ""
}

// status prints what show prints, less what looks different each time.
func (w *World) status(g *Gateway) {
	st := g.Engine.Status(w.Now)
	for _, c := range st.Connections {
		fmt.Fprintf(&w.Log, "conn %s %s reason=%q last-error=%q\n", c.Conn, c.State, c.Reason, c.LastError)
	}
	for _, i := range st.IKE {
		role := "responder"
		if i.Initiator {
			role = "initiator"
		}
		fmt.Fprintf(&w.Log, "ike %s %s %s %v %v ids %s %s %s nat %v/%v\n", i.Conn, i.State, role, i.Local, i.Remote,
			i.LocalID, i.RemoteID, i.Suite, i.NATLocal, i.NATRemote)
	}
	children := slices.Clone(st.Children)
	slices.SortFunc(children, func(a, b session.ChildStatus) int { return strings.Compare(w.spi(g, a.SPIIn), w.spi(g, b.SPIIn)) })
	for _, c := range children {
		mode := ""
		if c.Mode == sadb.Transport && !w.version.Terse {
			mode = " transport"
		}
		fmt.Fprintf(&w.Log, "child %s/%s %s %s %s encap=%v %v to %v%s\n", c.Conn, c.Child, c.State, w.spi(g, c.SPIIn), c.Suite, c.Encap, c.LocalTS, c.RemoteTS, mode)
	}
	if !w.version.Terse {
		for _, l := range st.Leases {
			fmt.Fprintf(&w.Log, "lease %s %s %v ours=%v dns %v subnets %v\n", l.Conn, l.Peer, l.Address, l.Ours, l.DNS, l.Subnets)
		}
	}
	fmt.Fprintf(&w.Log, "data path: %d in, %d out, %d policies\n", len(g.In), len(g.Out), len(g.Policies))
}
