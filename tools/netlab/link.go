package netlab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// End is one end of a link.
type End struct {
	NS     *NS
	Name   string // of the interface
	Addr   []netip.Prefix
	MTU    int              // 0: 1500
	Queues int              // RX and TX queues; 0: 1
	MAC    net.HardwareAddr // nil: the kernel chooses
}

func (e End) withDefaults() End {
	if e.MTU == 0 {
		e.MTU = 1500
	}
	if e.Queues == 0 {
		e.Queues = 1
	}
	return e
}

// Link joins two namespaces by a veth pair, made in them and nowhere else, and
// brings both ends up. Frames sent on queue q arrive on queue q. Checksum
// offload stays as the kernel has it: packets of a local stack carry partial
// checksums.
func (l *Lab) Link(a, b End) error {
	a, b = a.withDefaults(), b.withDefaults()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = a.Name, a.MTU, a.MAC
	attrs.NumTxQueues, attrs.NumRxQueues = a.Queues, a.Queues
	attrs.Namespace = netlink.NsFd(a.NS.fd)
	err := a.NS.nl.LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: b.Name, PeerNamespace: netlink.NsFd(b.NS.fd), PeerHardwareAddr: b.MAC,
		PeerMTU: uint32(b.MTU), PeerNumTxQueues: uint32(b.Queues), PeerNumRxQueues: uint32(b.Queues),
	})
	if err != nil {
		return fmt.Errorf("link %s:%s to %s:%s: %w", a.NS.Name, a.Name, b.NS.Name, b.Name, err)
	}
	for _, e := range []End{a, b} {
		if err := e.configure(); err != nil {
			return fmt.Errorf("configure %s:%s: %w", e.NS.Name, e.Name, err)
		}
	}
	return nil
}

func (e End) configure() error {
	link, err := e.NS.nl.LinkByName(e.Name)
	if err != nil {
		return err
	}
	for _, p := range e.Addr {
		if err := e.NS.nl.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil {
			return fmt.Errorf("address %s: %w", p, err)
		}
	}
	return e.NS.nl.LinkSetUp(link)
}

// Bridge makes a bridge of interfaces that the namespace has. It takes no part
// in the traffic: no IPv6, no spanning tree, no multicast snooping.
func (n *NS) Bridge(name string, ports ...string) error {
	snooping := false
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := n.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil {
		return err
	}
	if err := n.Sysctl("net/ipv6/conf/default/disable_ipv6", "1"); err != nil {
		return err
	}
	// A wire asks no packet filter; asking cost a fifth of what passes it.
	for _, family := range []string{"ip", "ip6", "arp"} {
		if err := n.Sysctl("net/bridge/bridge-nf-call-"+family+"tables", "0"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
	if err := n.nl.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge %s:%s: %w", n.Name, name, err)
	}
	for _, port := range ports {
		link, err := n.nl.LinkByName(port)
		if err == nil {
			err = n.nl.LinkSetMaster(link, bridge)
		}
		if err != nil {
			return fmt.Errorf("bridge port %s:%s: %w", n.Name, port, err)
		}
	}
	return n.nl.LinkSetUp(bridge)
}

// Route adds a route by a gateway.
func (n *NS) Route(dst netip.Prefix, gateway netip.Addr) error {
	if err := n.nl.RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("route %s by %s in %s: %w", dst, gateway, n.Name, err)
	}
	return nil
}

// Forward makes the namespace a router for both families.
func (n *NS) Forward() error {
	for _, key := range []string{"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"} {
		if err := n.Sysctl(key, "1"); err != nil {
			return err
		}
	}
	return nil
}

// AwaitLink waits until the kernel says that an interface runs. It says so up to a
// second late (net/core/link_watch.c), and until then nobody routes by it.
func (n *NS) AwaitLink(ctx context.Context, name string) error {
	for {
		link, err := n.nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("await %s:%s: %w", n.Name, name, err)
		}
		if link.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await %s:%s: %w", n.Name, name, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// SetLink brings an interface up or down.
func (n *NS) SetLink(name string, up bool) error {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return err
	}
	if up {
		return n.nl.LinkSetUp(link)
	}
	return n.nl.LinkSetDown(link)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func hostNet(addr netip.Addr) *net.IPNet { return ipNet(netip.PrefixFrom(addr, addr.BitLen())) }
