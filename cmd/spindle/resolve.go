package main

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
)

// Names of peers are looked up at the start and this often; a name that cannot
// be resolved keeps the addresses it had.
const (
	resolveEvery   = time.Minute
	resolveTimeout = 5 * time.Second
)

// names is what the peers' names last resolved to (P1).
type names map[string][]netip.Addr

// expand gives every connection the addresses of its hosts, in their order.
func (n names) expand(conns []session.Connection) []session.Connection {
	conns = slices.Clone(conns)
	for i := range conns {
		remote := &conns[i].Remote
		if remote.Any() {
			continue
		}
		remote.Addresses = nil
		for _, host := range remote.Hosts {
			if a, err := netip.ParseAddr(host); err == nil {
				remote.Addresses = append(remote.Addresses, a)
				continue
			}
			for _, a := range n[host] {
				if fits(a, conns[i].Local) && !slices.Contains(remote.Addresses, a) {
					remote.Addresses = append(remote.Addresses, a)
				}
			}
		}
	}
	return conns
}

// fits leaves out addresses of another family than ours.
func fits(a netip.Addr, local session.Endpoint) bool {
	return len(local.Addresses) == 0 || local.Addresses[0].Is4() == a.Is4()
}

// hostNames lists the names among all remote hosts.
func hostNames(conns []session.Connection) []string {
	var list []string
	for _, c := range conns {
		for _, host := range c.Remote.Hosts {
			if _, err := netip.ParseAddr(host); err != nil && !slices.Contains(list, host) {
				list = append(list, host)
			}
		}
	}
	return list
}

// lookUp resolves names; those that cannot be are missing in the answer.
func lookUp(ctx context.Context, hosts []string) names {
	found := names{}
	for _, host := range hosts {
		ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		cancel()
		if err != nil {
			continue
		}
		for i := range addrs {
			addrs[i] = addrs[i].Unmap()
		}
		slices.SortFunc(addrs, netip.Addr.Compare) // the order of answers is no preference
		found[host] = addrs
	}
	return found
}

// resolve looks the peers' names up beside the control loop, and tells the engine
// on it when they changed.
func (c *control) resolve(ctx context.Context) {
	hosts := hostNames(c.conf.Connections)
	if len(hosts) == 0 || c.resolving {
		return
	}
	c.resolving = true
	go func() {
		found := lookUp(ctx, hosts)
		select {
		case c.requests <- func() { c.resolving = false; c.resolved(found) }:
		case <-ctx.Done():
		}
	}()
}

func (c *control) resolved(found names) {
	changed := false
	for host, addrs := range found {
		if !slices.Equal(c.names[host], addrs) {
			c.names[host], changed = addrs, true
			c.log.Info("peer name resolved", "name", host, "addresses", addrs)
		}
	}
	if changed {
		c.step(session.ConfigChanged{Connections: c.names.expand(c.conf.Connections)})
	}
}
