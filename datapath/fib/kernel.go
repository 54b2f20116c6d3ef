package fib

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// snapshot is the kernel's state as one dump found it, neighbours as later
// events changed them.
type snapshot struct {
	links  map[int]link
	routes []route // in the kernel's order
	neighs map[neighKey]neigh
}

type link struct {
	mac     [6]byte
	mtu     int
	running bool
}

type route struct {
	prefix netip.Prefix
	table  int
	kind   int // RTN_*
	metric int
	mtu    int
	opaque bool // has conditions or actions that the mirror does not know
	hops   []hop
}

type hop struct {
	ifindex int
	gateway netip.Addr // the zero value: the destination is on the link
	dead    bool
}

type neighKey struct {
	ifindex int
	addr    netip.Addr
}

type neigh struct {
	mac     [6]byte
	valid   bool // mac may be used
	fixed   bool // never probed by the kernel
	managed bool
	router  bool
	failed  bool
}

// dumpRetries bounds how often a dump is repeated that a change interrupted.
const dumpRetries = 5

func dump(h *netlink.Handle) (*snapshot, error) {
	s := &snapshot{}
	steps := []struct {
		name string
		do   func(*netlink.Handle) error
	}{{"links", s.dumpLinks}, {"routes", s.dumpRoutes}, {"neighbours", s.dumpNeighs}}
	for _, step := range steps {
		err := step.do(h)
		for i := 0; errors.Is(err, netlink.ErrDumpInterrupted) && i < dumpRetries; i++ {
			err = step.do(h)
		}
		if err != nil {
			return nil, fmt.Errorf("dump %s: %w", step.name, err)
		}
	}
	return s, nil
}

func (s *snapshot) dumpLinks(h *netlink.Handle) error {
	links, err := h.LinkList()
	if err != nil {
		return err
	}
	s.links = make(map[int]link, len(links))
	for _, l := range links {
		a := l.Attrs()
		s.links[a.Index] = link{
			mac: macOf(a.HardwareAddr), mtu: a.MTU,
			running: a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
		}
	}
	return nil
}

func (s *snapshot) dumpRoutes(h *netlink.Handle) error {
	s.routes = nil
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		err := h.RouteListFilteredIter(family, all, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if r.Table == unix.RT_TABLE_MAIN || r.Table == unix.RT_TABLE_LOCAL {
				s.routes = append(s.routes, routeOf(family, r))
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshot) dumpNeighs(h *netlink.Handle) error {
	s.neighs = make(map[neighKey]neigh)
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := h.NeighList(0, family)
		if err != nil {
			return err
		}
		for i := range list {
			if key, ok := keyOf(&list[i]); ok {
				s.neighs[key] = neighOf(&list[i])
			}
		}
	}
	return nil
}

func routeOf(family int, r netlink.Route) route {
	out := route{
		prefix: prefixOf(family, r.Dst), table: r.Table, kind: r.Type, metric: r.Priority, mtu: r.MTU,
		opaque: r.Tos != 0 || r.Encap != nil || r.NewDst != nil || r.MPLSDst != nil,
	}
	if len(r.MultiPath) == 0 {
		out.hops = []hop{{ifindex: r.LinkIndex, gateway: gatewayOf(r.Gw, r.Via), dead: r.Flags&unix.RTNH_F_DEAD != 0}}
		return out
	}
	for _, n := range r.MultiPath {
		out.opaque = out.opaque || n.Encap != nil || n.NewDst != nil
		out.hops = append(out.hops, hop{
			ifindex: n.LinkIndex, gateway: gatewayOf(n.Gw, n.Via), dead: n.Flags&unix.RTNH_F_DEAD != 0,
		})
	}
	return out
}

// prefixOf converts a destination; the kernel leaves it out for the default route.
func prefixOf(family int, dst *net.IPNet) netip.Prefix {
	if dst == nil {
		if family == unix.AF_INET {
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	ones, _ := dst.Mask.Size()
	ip := dst.IP
	if family == unix.AF_INET {
		ip = ip.To4()
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.PrefixFrom(addr, ones).Masked()
}

func gatewayOf(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok { // an IPv4 route by an IPv6 next hop (RFC 5549)
		gw = v.Addr
	}
	addr, _ := netip.AddrFromSlice(gw)
	return addr.Unmap()
}

func keyOf(n *netlink.Neigh) (neighKey, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	proxy := n.Flags&netlink.NTF_PROXY != 0
	return neighKey{n.LinkIndex, addr}, ok && !proxy && n.Family != unix.AF_BRIDGE
}

// Like the kernel's NUD_VALID: what has a link-layer address that may be used
// while it is being confirmed.
const nudValid = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY |
	netlink.NUD_PROBE | netlink.NUD_PERMANENT | netlink.NUD_NOARP

func neighOf(n *netlink.Neigh) neigh {
	mac := macOf(n.HardwareAddr)
	return neigh{
		mac:     mac,
		valid:   n.State&nudValid != 0 && mac != [6]byte{},
		fixed:   n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0,
		failed:  n.State&netlink.NUD_FAILED != 0,
		managed: n.FlagsExt&netlink.NTF_EXT_MANAGED != 0,
		router:  n.Flags&netlink.NTF_ROUTER != 0,
	}
}

func macOf(hw net.HardwareAddr) (mac [6]byte) {
	if len(hw) == len(mac) {
		copy(mac[:], hw)
	}
	return mac
}
