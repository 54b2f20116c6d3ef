package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// config reads the whole file: first what belongs to the gateway, then its connections.
func (d *decoder) config(n ast.Node, c *Config) {
	p := &c.Datapath
	p.XDP, p.UMEM = "auto", "auto"
	var cpus ast.Node
	d.object(n, "the configuration",
		must("outside", d.ports(&p.Outside, "outside")),
		may("inside", d.ports(&p.Inside, "inside")),
		may("workers", d.workers(&p.Workers)),
		may("cpus", func(n ast.Node) { cpus = n; d.cpus(n, &p.CPUs) }),
		may("xdp", chooseInto(d, &p.XDP, "xdp", word("auto"), word("native"), word("generic"))),
		may("umem", chooseInto(d, &p.UMEM, "umem", word("auto"), word("pages"), word("hugepages"))),
		may("fail_closed", d.boolean(&p.FailClosed, "fail_closed")),
		may("metrics", func(n ast.Node) { d.metrics(n, &c.Metrics) }),
		may("control_user", func(n ast.Node) { c.ControlUser = d.controlUser(n) }),
		may("priority", func(n ast.Node) { d.priority(n, &p.Priority) }),
		may("policies", func(n ast.Node) { d.policies(n, &c.Policies) }),
		may("idle", d.duration(&c.Idle, "idle", 0, forever)),
		must("connections", func(n ast.Node) { c.Connections = d.connections(n) }),
	)
	c.inheritIdle()
	if p.FailClosed {
		p.Protected = c.protected()
	}
	if cpus != nil && len(p.CPUs) > 0 && p.Workers > len(p.CPUs) {
		d.refuse(cpus, "cpus names %s for %d workers: name one each, or write auto", count(len(p.CPUs), "CPU", "CPUs"), p.Workers)
	}
}

// inheritIdle gives the gateway's idle time to every child without one (T1).
func (c *Config) inheritIdle() {
	for i := range c.Connections {
		for j := range c.Connections[i].Children {
			if child := &c.Connections[i].Children[j]; child.Idle == 0 {
				child.Idle = c.Idle
			}
		}
	}
}

// protected are the remote prefixes of all children.
func (c *Config) protected() (list []netip.Prefix) {
	for _, conn := range c.Connections {
		for _, child := range conn.Children {
			for _, ts := range child.Remote {
				list = append(list, ts.Prefixes()...)
			}
		}
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

func word(w string) choice[string] { return choice[string]{w, w, false} }

// ports reads a list of interface names. That they exist is the data path's to
// find: a configuration can be checked on another machine.
func (d *decoder) ports(into *[]string, what string) func(ast.Node) {
	return func(n ast.Node) {
		d.list(n, what, func(n ast.Node) {
			s, ok := d.text(n, "an interface in "+what)
			switch {
			case !ok:
			case s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n"):
				d.refuse(n, "%s: %q cannot be an interface name: 1 to 15 characters, no slash, colon or blank", what, s)
			case slices.Contains(*into, s):
				d.refuse(n, "%s names %q twice", what, s)
			default:
				*into = append(*into, s)
			}
		})
	}
}

// controlUser reads a name. Whether this machine has that user is known at start.
func (d *decoder) controlUser(n ast.Node) string {
	name := d.name(n, "control_user")
	if name == "root" {
		d.refuse(n, "control_user root: the control process parses what strangers send, name an unprivileged user")
	}
	return name
}

func (d *decoder) workers(into *int) func(ast.Node) {
	return func(n ast.Node) {
		s, _ := raw(n)
		if s == "auto" {
			*into = 0
			return
		}
		if s != "" && !digits(s) {
			d.refuse(n, "workers: %q: write auto or a number from 1 to %d", s, sadb.MaxWorkers)
			return
		}
		number(d, into, "workers", 1, sadb.MaxWorkers)(n)
	}
}

func (d *decoder) cpus(n ast.Node, into *[]int) {
	if s, ok := raw(n); ok {
		if s != "auto" {
			d.refuse(n, "cpus: %q: write auto or a list like [0, 1]", s)
		}
		return
	}
	d.list(n, "cpus", func(n ast.Node) {
		cpu := -1
		number(d, &cpu, "a CPU in cpus", 0, 1<<16)(n)
		if cpu >= 0 && slices.Contains(*into, cpu) {
			d.refuse(n, "cpus names %d twice: each worker needs a CPU of its own", cpu)
			return
		}
		if cpu >= 0 {
			*into = append(*into, cpu)
		}
	})
}

func (d *decoder) metrics(n ast.Node, into *netip.AddrPort) {
	s, ok := d.scalar(n, "metrics")
	if !ok {
		return
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 {
		d.refuse(n, "metrics: %q is not an address and port: write for example 127.0.0.1:9500", s)
		return
	}
	*into = at
}

// placed is a thing of the file and where it stands, to name both positions
// when two of them exclude each other.
type placed[T any] struct {
	at    position
	value T
}

func (d *decoder) connections(n ast.Node) []session.Connection {
	s, ok := n.(*ast.SequenceNode)
	if ok && len(s.Values) == 0 {
		return nil
	}
	var all []session.Connection
	names := make(map[string]position)
	policies := make(map[string]placed[string])
	d.list(n, "connections", func(n ast.Node) {
		c, children := d.connection(n)
		if first, twice := names[c.Name]; twice && c.Name != "" {
			d.refuse(n, "connection %q stands twice: first at %v", c.Name, first)
		}
		names[c.Name] = where(n)
		for _, child := range children {
			d.samePolicy(policies, child, c.Name)
		}
		all = append(all, c)
	})
	return all
}

// samePolicy refuses two children that protect exactly the same traffic: one of
// them could never carry a packet (RFC 4301 §4.4.1, the SPD is ordered).
func (d *decoder) samePolicy(policies map[string]placed[string], child placed[session.Child], conn string) {
	c := child.value
	if len(c.Local) == 0 || len(c.Remote) == 0 {
		return
	}
	key, name := selectorKey(c.Local)+">"+selectorKey(c.Remote), conn+"/"+c.Name
	first, twice := policies[key]
	if !twice {
		policies[key] = placed[string]{child.at, name}
		return
	}
	d.problem(child.at, "child %s has the same selectors as child %s at %v: they would take each other's traffic; change local or remote of one", name, first.value, first.at)
}

func selectorKey(list []sadb.Selector) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = s.String()
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
