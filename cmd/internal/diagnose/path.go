package diagnose

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Look asks the kernel for the way to a peer: it sends nothing.
func Look(peer netip.Addr) Path {
	p := Path{Peer: peer.String()}
	routes, err := netlink.RouteGet(peer.AsSlice())
	if err != nil || len(routes) == 0 {
		p.RouteError = "no route"
		if err != nil {
			p.RouteError = err.Error()
		}
		return p
	}
	r := routes[0]
	p.NextHop = p.Peer
	if gw, ok := netip.AddrFromSlice(r.Gw); ok {
		p.NextHop = gw.Unmap().String()
	}
	link, err := netlink.LinkByIndex(r.LinkIndex)
	if err != nil {
		p.RouteError = err.Error()
		return p
	}
	p.Route, p.Size = link.Attrs().Name, link.Attrs().MTU
	if p.NextHop != p.Peer {
		p.Route += " via " + p.NextHop
	}
	p.Neighbour = neighbour(r.LinkIndex, p.NextHop)
	return p
}

func neighbour(link int, hop string) Neighbour {
	list, err := netlink.NeighList(link, netlink.FAMILY_ALL)
	if err != nil {
		return NeighbourUnknown
	}
	for _, n := range list {
		if a, ok := netip.AddrFromSlice(n.IP); !ok || a.Unmap().String() != hop {
			continue
		}
		switch {
		case n.State&(netlink.NUD_REACHABLE|netlink.NUD_PERMANENT) != 0:
			return NeighbourAnswers
		case n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0:
			return NeighbourSilent
		}
	}
	return NeighbourUnknown
}

// Probing: UDP to a port where nobody listens is answered by the peer's kernel,
// RFC 1122 §3.2.2.1 "port unreachable", at most once a second after a few (Linux).
const (
	probePort  = 33434 // traceroute's first
	probeWait  = 400 * time.Millisecond
	probeTries = 2
	probeSmall = 100
)

// steps are the sizes that are tried when the largest does not arrive.
var steps = [...]int{1400, 1280}

// Probe asks whether the peer's host answers at all.
func (p *Path) Probe(ctx context.Context, peer netip.Addr) {
	p.Host = probe(ctx, peer, probeSmall)
	if p.RouteError == "" {
		p.Neighbour = Look(peer).Neighbour // the probe made the kernel look for its next hop
	}
}

// ProbeSizes asks which packets arrive, largest first.
func (p *Path) ProbeSizes(ctx context.Context, peer netip.Addr) {
	if p.Host != Answered || p.Size <= probeSmall {
		return
	}
	p.Large = probe(ctx, peer, p.Size)
	if p.Large == Answered {
		p.Passes = p.Size
		return
	}
	if p.Large == Unreachable {
		p.Signaled = true
		return
	}
	for _, size := range steps {
		if size < p.Size && probe(ctx, peer, size) == Answered {
			p.Passes = size
			return
		}
	}
}

// probe sends one packet of size bytes that must not be fragmented, again if
// nothing comes back.
func probe(ctx context.Context, peer netip.Addr, size int) Answer {
	headers, network := 28, "udp4"
	if peer.Is6() {
		headers, network = 48, "udp6"
	}
	d := net.Dialer{Timeout: probeWait, Control: unfragmented}
	for range probeTries {
		conn, err := d.DialContext(ctx, network, net.JoinHostPort(peer.String(), strconv.Itoa(probePort)))
		if err != nil {
			return Unreachable
		}
		answer := ask(conn, make([]byte, size-headers))
		conn.Close()
		if answer != Silent {
			return answer
		}
	}
	return Silent
}

func ask(conn net.Conn, data []byte) Answer {
	if _, err := conn.Write(data); err != nil {
		return meaning(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(probeWait))
	_, err := conn.Read(make([]byte, 1))
	if err == nil {
		return Answered
	}
	return meaning(err)
}

// meaning of what the socket says: a refusal comes from the peer itself.
func meaning(err error) Answer {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Answered
	case errors.Is(err, os.ErrDeadlineExceeded):
		return Silent
	}
	return Unreachable
}

// unfragmented sets DF and ignores what the kernel believes of the path's MTU: it
// is the path that is asked.
func unfragmented(network, _ string, c syscall.RawConn) (err error) {
	e := c.Control(func(fd uintptr) {
		if network == "udp6" {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE)
			return
		}
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	})
	return errors.Join(err, e)
}
