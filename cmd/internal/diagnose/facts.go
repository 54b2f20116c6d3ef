package diagnose

import (
	"fmt"
	"time"

	"spindle/cmd/internal/api"
)

// Facts are all that is known about one connection at one moment.
type Facts struct {
	Now        time.Time
	Connection api.Connection
	Hosts      []string // remote addresses as configured, names included; empty accepts any
	Configured []string // its children

	IKE      []api.IKESA
	Children []api.ChildSA
	Peers    []api.Peer
	Policies []api.Policy
	Unknown  []api.UnknownSPI // from its peers

	Workers  []api.Worker
	Counters []api.Counter
	Datapath string // why the data path says nothing, "" when it does

	Path Path
}

// Path is the way to the peer.
type Path struct {
	Peer       string // address, "" when there is none to go to
	Route      string // "out0 via 192.0.2.1"
	RouteError string // the kernel's refusal
	NextHop    string
	Neighbour  Neighbour

	Host     Answer // of the peer's host to a small probe
	Large    Answer // to one of Size bytes
	Size     int    // of the largest packet that the outside port takes
	Passes   int    // the largest probe that was answered, 0 for none
	Signaled bool   // a router says that Size is too large: no black hole
}

// Neighbour is what the kernel knows of the next hop.
type Neighbour uint8

const (
	NeighbourUnknown Neighbour = iota
	NeighbourAnswers
	NeighbourSilent // it does not answer ARP or neighbour discovery
)

// Answer is what became of a probe.
type Answer uint8

const (
	NotAsked Answer = iota
	Answered
	Silent
	Unreachable // a router, or our own kernel, says so
)

// finding is what one check makes of the facts. With a verdict it is the cause.
type finding struct {
	says    string
	verdict string
	cause   string
	action  string
}

// established is the newest IKE SA that stands, nil without one.
func (f *Facts) established() *api.IKESA {
	for i := len(f.IKE) - 1; i >= 0; i-- {
		if f.IKE[i].State == "established" {
			return &f.IKE[i]
		}
	}
	return nil
}

// peer is the row of the peer with an IKE SA, else the first.
func (f *Facts) peer() *api.Peer {
	for i := range f.Peers {
		if f.Peers[i].State == "established" {
			return &f.Peers[i]
		}
	}
	if len(f.Peers) == 0 {
		return nil
	}
	return &f.Peers[0]
}

// installed are the child SAs that carry traffic.
func (f *Facts) installed() (list []api.ChildSA) {
	for _, c := range f.Children {
		if c.State == "installed" || c.State == "rekeying" {
			list = append(list, c)
		}
	}
	return list
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// counted sums one counter over all sources.
func (f *Facts) counted(name string) (n uint64) {
	for _, c := range f.Counters {
		if c.Name == name {
			n += c.Value
		}
	}
	return n
}
