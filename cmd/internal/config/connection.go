package config

import (
	"net/netip"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
)

// forever is the upper bound of durations that have none of their own.
const forever = 10 * 365 * 24 * time.Hour

// peer is one side as it stands in the file, before the other side is known.
type peer struct {
	session.Endpoint
	any   bool // addresses: any
	named bool // the file gives it an id
	anyID bool // id: any
}

// connection reads one entry, and returns its children with their places as well.
func (d *decoder) connection(n ast.Node) (session.Connection, []placed[session.Child]) {
	c := session.Connection{
		Version:        2,
		IKE:            defaultIKE(),
		FollowRedirect: true,
		NATKeepalive:   20 * time.Second, FragmentSize: session.DefaultFragmentSize,
		DPD: session.DPD{Mode: session.DPDOnDemand, Interval: 10 * time.Second, Retry: 2 * time.Second, Tries: 5},
	}
	var local, remote peer
	var children []placed[session.Child]
	var starts ast.Node
	var old ikev1
	d.permit(n)
	var mobile bool // the file says whether
	var auth credentials
	before := len(d.problems)
	d.object(n, "a connection", append(slices.Concat(d.authFields(&c, &auth), d.insideFields(&c), d.version1Fields(&c, &old)),
		must("name", func(n ast.Node) { c.Name = d.name(n, "connection name") }),
		may("version", func(n ast.Node) { old.version = n; d.version(n, &c.Version) }),
		may("local", func(n ast.Node) { local = d.local(n) }),
		must("remote", func(n ast.Node) { remote = d.remote(n) }),
		may("ike", proposals(d, &c.IKE, "ike", d.weak.ParseIKE)),
		may("allow_weak", d.allowWeak),
		may("start", func(n ast.Node) { starts = n; d.start(n, &c.Start) }),
		may("dpd", func(n ast.Node) { d.dpd(n, &c.DPD) }),
		may("encap", chooseInto(d, &c.ForceEncap, "encap", choice[bool]{"auto", false, false}, choice[bool]{"force", true, false})),
		may("mobike", func(n ast.Node) { mobile = true; d.boolean(&c.MOBIKE, "mobike")(n) }),
		may("nat_keepalive", d.duration(&c.NATKeepalive, "nat_keepalive", 0, time.Hour)),
		may("fragment_size", number(d, &c.FragmentSize, "fragment_size", 256, 65535)),
		may("follow_redirect", d.boolean(&c.FollowRedirect, "follow_redirect")),
		may("redirect_grace", d.duration(&c.RedirectGrace, "redirect_grace", time.Second, 24*time.Hour)),
		may("redirect", func(n ast.Node) { c.Redirect, _ = d.address(n, "redirect") }),
		may("preferred", func(n ast.Node) { d.preferred(n, &c) }),
		may("idle_ike", d.boolean(&c.IdleIKE, "idle_ike")),
		may("invalid_spi_recovery", d.boolean(&c.InvalidSPIRecovery, "invalid_spi_recovery")),
		may("lifetime", d.duration(&c.Lifetime, "lifetime", time.Second, forever)),
		must("children", func(n ast.Node) { children = d.children(n) }),
	)...)
	if len(d.problems) == before {
		d.easyVPN(&c, &old, &auth, starts, &local, &remote)
		d.authenticate(n, &c, &auth, &local, &remote)
		d.sides(n, local, remote)
		d.version1(n, starts, &c, &old, local, remote)
	}
	d.starter(starts, remote.any, &c.Start)
	if !mobile {
		// A peer whose address the file names does not roam, and stays on port 500.
		c.MOBIKE = remote.any
	}
	c.Local, c.Remote = local.Endpoint, remote.Endpoint
	d.openSides(starts, &c)
	d.translated(&c, children)
	for _, child := range children {
		c.Children = append(c.Children, child.value)
	}
	return c, children
}

func (d *decoder) version(n ast.Node, into *int) {
	chooseInto(d, into, "version", choice[int]{"2", 2, false}, choice[int]{"1", 1, false})(n)
}

func (d *decoder) start(n ast.Node, into *session.Start) {
	chooseInto(d, into, "start",
		choice[session.Start]{"traffic", session.StartTraffic, false},
		choice[session.Start]{"now", session.StartNow, false},
		choice[session.Start]{"never", session.StartNever, false})(n)
}

// starter settles who begins: nobody can call a peer whose address is unknown.
func (d *decoder) starter(n ast.Node, any bool, start *session.Start) {
	if any && n != nil && *start != session.StartNever {
		d.refuse(n, "start: a connection with remote addresses: any can only answer: write never")
	}
	if any {
		*start = session.StartNever
	}
}

func (d *decoder) dpd(n ast.Node, into *session.DPD) {
	d.object(n, "dpd",
		may("mode", chooseInto(d, &into.Mode, "dpd mode",
			choice[session.DPDMode]{"on-demand", session.DPDOnDemand, false},
			choice[session.DPDMode]{"periodic", session.DPDPeriodic, false},
			choice[session.DPDMode]{"off", session.DPDOff, false})),
		may("interval", d.duration(&into.Interval, "dpd interval", 10*time.Second, time.Hour)),
		may("retry", d.duration(&into.Retry, "dpd retry", 2*time.Second, time.Minute)),
		may("tries", number(d, &into.Tries, "dpd tries", 1, 100)),
	)
}

// preferred: the first of the remote addresses is gone back to.
func (d *decoder) preferred(n ast.Node, c *session.Connection) {
	d.object(n, "preferred", must("fail_back", d.duration(&c.FailBack, "fail_back", time.Second, forever)))
}

func (d *decoder) local(n ast.Node) peer {
	var p peer
	d.object(n, "local",
		may("address", func(n ast.Node) {
			if a, ok := d.address(n, "local address"); ok {
				p.Addresses = []netip.Addr{a}
			}
		}),
		may("id", func(n ast.Node) { p.named = true; p.ID = d.identity(n, "local id") }),
		may("auth", d.auth(&p.Auth, choice[session.Auth]{"eap", 0, true})),
	)
	p.ID = idOrAddress(p.Endpoint)
	return p
}

func (d *decoder) remote(n ast.Node) peer {
	var p peer
	d.object(n, "remote",
		must("addresses", func(n ast.Node) { d.peers(n, &p) }),
		may("id", func(n ast.Node) {
			p.named = true
			if s, _ := raw(n); s == "any" {
				p.anyID = true
				return
			}
			p.ID = d.identity(n, "remote id")
		}),
		may("auth", d.auth(&p.Auth, choice[session.Auth]{"eap", session.AuthEAP, false})),
	)
	if !p.anyID {
		p.ID = idOrAddress(p.Endpoint)
	}
	return p
}

// peers reads the addresses and names of the other side, or any. Names are
// resolved, again and again, by the control process.
func (d *decoder) peers(n ast.Node, p *peer) {
	if s, ok := raw(n); ok {
		if s != "any" {
			d.refuse(n, "remote addresses: %q: write any or a list like [192.0.2.2]", s)
		}
		p.any = true // an address that is already refused must not be missed as well
		return
	}
	d.list(n, "remote addresses", func(n ast.Node) {
		s, ok := raw(n)
		if s == "any" {
			d.refuse(n, "remote addresses: any is the peer at every address: write any alone, or addresses and host names")
			p.any = true
			return
		}
		if name := ok && fqdn(s) && !numeric(s); !name {
			a, ok := d.address(n, "remote address")
			if !ok {
				p.any = true
				return
			}
			p.Addresses = append(p.Addresses, a)
			s = a.String()
		}
		if slices.Contains(p.Hosts, s) {
			d.refuse(n, "remote addresses names %s twice", s)
		}
		p.Hosts = append(p.Hosts, s)
	})
}

// idOrAddress takes the address for the identity when there is just one.
func idOrAddress(e session.Endpoint) session.Identity {
	if e.ID.IsZero() && len(e.Addresses) == 1 && len(e.Hosts) <= 1 {
		return addressIdentity(e.Addresses[0])
	}
	return e.ID
}

// sides checks what only both sides together show, once each alone is right.
func (d *decoder) sides(n ast.Node, local, remote peer) {
	if local.ID.IsZero() {
		d.refuse(n, "the connection needs local: {id: ...}, or an address to take for it")
	}
	if remote.ID.IsZero() && !remote.anyID {
		d.refuse(n, "the connection needs remote: {id: ...}: it has not exactly one address to take for it; id: any accepts whoever knows the key")
	}
	if len(local.Addresses) == 0 {
		return
	}
	for _, a := range remote.Addresses {
		if a.Is4() != local.Addresses[0].Is4() {
			d.refuse(n, "local address %s and remote address %s are of different families", local.Addresses[0], a)
		}
	}
}
