package ladder

import (
	"fmt"
	"net/netip"
	"slices"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// fragment says which part of an IKEv2 message a datagram is, if it is one, and
// whether it is the last.
func fragment(data []byte, text string) (part string, last bool) {
	m, err := wire.ParseMessage(data)
	if f, ok := wire.Find[wire.SKF](m.Payloads); ok && err == nil && text != "" {
		return fmt.Sprintf(" fragment %d/%d", f.Fragment, f.Total), f.Fragment == f.Total
	}
	return "", true
}

func (w *World) send(g *Gateway, o session.Send, text string) {
	if text != "" {
		w.texts[string(o.Data)] = text
	} else {
		text = "again: " + w.texts[string(o.Data)]
	}
	d := session.Datagram{Local: o.Remote, Remote: w.outside(o.Local), Data: slices.Clone(o.Data)}
	to := w.At(d.Local)
	label := fmt.Sprintf("%s -> %s", g.Name, to)
	switch {
	case to == "":
		label = g.Name + " -> nowhere"
	case w.Drop > 0:
		w.Drop--
		to, label = "", label+" LOST"
	case g.unplugged || w.Gateways[to].unplugged || w.Gateways[to].deaf:
		to, label = "", label+" LOST"
	}
	w.Print("%s :%d %s", label, o.Local.Port(), text)
	if to == "" {
		return
	}
	d.Local = w.inside(d.Local)
	if w.Watch != nil {
		w.Watch(g, d)
	}
	if w.spoil != nil {
		w.spoil(&d)
		w.spoil = nil
	}
	wait := Latency
	if w.Hold != nil {
		wait += w.Hold(to, d)
	}
	w.Deliver(w.Now.Add(wait), to, d)
}

// outside and inside are what a NAT does to one address. It keeps ports but for
// the sake of its notice adds 1000 to them.
func (w *World) outside(a netip.AddrPort) netip.AddrPort {
	if public, ok := w.nat[a.Addr()]; ok {
		return netip.AddrPortFrom(public, a.Port()+1000)
	}
	return a
}

func (w *World) inside(a netip.AddrPort) netip.AddrPort {
	for private, public := range w.nat {
		if public == a.Addr() {
			return netip.AddrPortFrom(private, a.Port()-1000)
		}
	}
	return a
}

// At names the gateway that has an address, "" for none.
func (w *World) At(a netip.AddrPort) string {
	addr := w.inside(a).Addr()
	for name, g := range w.Gateways {
		if g.roams != nil {
			if slices.Contains(g.roams, addr) {
				return name
			}
			continue
		}
		if slices.ContainsFunc(g.Conns, func(c session.Connection) bool { return slices.Contains(c.Local.Addresses, addr) }) {
			return name
		}
	}
	return ""
}
