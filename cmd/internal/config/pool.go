package config

import (
	"net/netip"
	"slices"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// openSide is a side of a child that the file leaves out: it is the inside
// address that one end gives the other.
type openSide struct {
	at  position
	key string
}

// insideFields are the keys of a connection about inside addresses.
func (d *decoder) insideFields(c *session.Connection) []field {
	return []field{
		may("pool", func(n ast.Node) { c.Pool = d.pool(n) }),
		may("virtual_ip", func(n ast.Node) { d.virtualIP(n, c) }),
		may("childless", d.boolean(&c.Childless, "childless")),
	}
}

// pool reads what peers are given that ask for an inside address.
func (d *decoder) pool(n ast.Node) *session.Pool {
	p := &session.Pool{}
	d.object(n, "pool",
		must("addresses", func(n ast.Node) { d.poolRanges(n, p) }),
		may("dns", func(n ast.Node) { p.DNS = d.addresses(n, "pool dns") }),
		may("subnets", func(n ast.Node) {
			for _, s := range d.selectors(n, "pool subnets") {
				p.Subnets = append(p.Subnets, s.Prefixes()...)
			}
		}),
		may("wins", func(n ast.Node) { p.WINS = d.addresses(n, "pool wins") }),
		may("banner", func(n ast.Node) { p.Banner, _ = d.text(n, "pool banner") }),
		may("domain", func(n ast.Node) { p.Domain, _ = d.text(n, "pool domain") }),
	)
	return p
}

// poolRanges reads prefixes and ranges. Of a prefix, what cannot be a host's
// address is left out; a range is taken as it stands.
func (d *decoder) poolRanges(n ast.Node, p *session.Pool) {
	d.list(n, "pool addresses", func(n ast.Node) {
		s, ok := d.selector(n, "pool addresses")
		if !ok {
			return
		}
		if s != (sadb.Selector{First: s.First, Last: s.Last, LastPort: 65535}) {
			d.refuse(n, "pool addresses: %s: an address has no protocol and no port", s)
			return
		}
		r := session.AddressRange{First: s.First, Last: s.Last}
		if text, _ := raw(n); isPrefix(text) {
			r = session.HostRange(netip.MustParsePrefix(text))
		}
		for _, o := range p.Ranges {
			if o.Contains(r.First) || r.Contains(o.First) {
				d.refuse(n, "pool addresses: %s overlaps %s-%s", s, o.First, o.Last)
				return
			}
		}
		p.Ranges = append(p.Ranges, r)
	})
}

func isPrefix(text string) bool {
	_, err := netip.ParsePrefix(text)
	return err == nil
}

func (d *decoder) addresses(n ast.Node, what string) (list []netip.Addr) {
	d.list(n, what, func(n ast.Node) {
		a, ok := d.address(n, what)
		switch {
		case !ok:
		case slices.Contains(list, a):
			d.refuse(n, "%s names %s twice", what, a)
		default:
			list = append(list, a)
		}
	})
	return list
}

// openSides settles what stands where a child leaves a side out, and who begins:
// no packet can ask for a tunnel before its end has an address.
func (d *decoder) openSides(starts ast.Node, c *session.Connection) {
	// What else is wrong may have kept version and Easy VPN from being settled.
	client := c.VirtualIP || c.V1.EasyVPN
	named := client && (c.Version == 1 || c.V1.EasyVPN)
	local := false
	for _, open := range d.open {
		switch {
		case open.key == "local" && c.V1.Extend:
			d.problem(open.at, "a child lacks the key \"local\": in network-extension mode the server reaches what is behind us")
		case open.key == "local" && client:
			local = true
		case open.key == "remote" && named: // what the server names, else everything
		case open.key == "remote" && c.Pool != nil:
		default:
			d.problem(open.at, "a child lacks the key %q", open.key)
		}
	}
	d.open = nil
	if !local || c.Remote.Any() {
		return
	}
	if starts == nil && c.Start == session.StartTraffic {
		c.Start = session.StartNow
	}
	if c.Start == session.StartTraffic {
		d.refuse(starts, "start: the inside address comes with the tunnel, so no traffic can ask for it: write now or never")
	}
}
