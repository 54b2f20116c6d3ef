package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"spindle/datapath"
	"spindle/datapath/esp"
	"spindle/datapath/fib"
	"spindle/datapath/packet"
	"spindle/datapath/tun"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// gateway is one real worker between two ports of memory, with its SAs.
type gateway struct {
	group  *datapath.Group
	server *datapath.Server
	crypto *esp.Crypto
	queues [2]*queue // by port
	peers  []*esp.Outbound
	base   map[string]uint64 // counters when they were last taken
}

// newGateway installs both directions of a tunnel to each of so many sites. memory
// is for frames, half of it for each port.
func newGateway(sas int, suite esp.Suite, crypto *esp.Crypto, memory []byte) (*gateway, error) {
	half := len(memory) / 2
	g := &gateway{crypto: crypto, queues: [2]*queue{newQueue(memory[:half]), newQueue(memory[half:])}, base: map[string]uint64{}}
	db := datapath.NewDB()
	for n := range sas {
		db.AddPolicy(policy(n))
	}
	ports := []datapath.Port{
		inPort:  {Name: "in0", Inside: true, Queue: g.queues[inPort]},
		outPort: {Name: "out0", Outside: true, Queue: g.queues[outPort]},
	}
	table := fixedRoutes{routes()}
	var err error
	if g.group, err = datapath.NewGroup([][]datapath.Port{ports}, db, table, nowhere{}); err != nil {
		return nil, err
	}
	g.server = &datapath.Server{DB: db, Group: g.group, Steering: nowhere{}, Host: nowhere{}, Routes: table, Crypto: crypto}
	for n := range sas {
		if err := g.addTunnel(n, suite); err != nil {
			return nil, errors.Join(err, g.close())
		}
	}
	return g, nil
}

func (g *gateway) addTunnel(n int, suite esp.Suite) error {
	theirs := peerSA(n, sadb.Inbound, suite)
	peer, err := g.crypto.NewOutbound(&theirs)
	if err != nil {
		return err
	}
	g.peers = append(g.peers, peer)
	return errors.Join(g.server.Add(sa(n, sadb.Inbound, suite)), g.server.Add(sa(n, sadb.Outbound, suite)))
}

func (g *gateway) close() error {
	g.group.Close()
	g.server.Wipe()
	for _, p := range g.peers {
		p.Wipe()
	}
	return nil
}

// run lets the worker forward a chunk that arrives at a port.
func (g *gateway) run(port int, frames [][]byte) error {
	g.queues[port].arrive(frames)
	for done := 0; done < len(frames); {
		n, err := g.group.Workers[0].Poll()
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the worker left frames in the ring")
		}
		done += n
	}
	return nil
}

// counted returns what the worker counted since it was last asked, by verdict.
func (g *gateway) counted() (map[string]uint64, error) {
	time.Sleep(publication) // a busy worker publishes its counters that often
	if _, err := g.group.Workers[0].Poll(); err != nil {
		return nil, err
	}
	since := map[string]uint64{}
	names, values := g.group.Workers[0].Counters()
	for i, name := range names {
		if n := values[i] - g.base[name]; n > 0 {
			since[name] = n
		}
		g.base[name] = values[i]
	}
	return since, nil
}

const publication = 25 * time.Millisecond

// packetsOf sums the counters of all SAs of one direction.
func (g *gateway) packetsOf(direction sadb.Direction) (packets uint64, err error) {
	err = g.server.Dump(func(u keysock.Usage) error {
		if u.SA.Direction == direction {
			packets += u.Packets
		}
		return nil
	})
	return packets, err
}

// fixedRoutes is a mirror of routes that never change.
type fixedRoutes struct{ table *fib.Table }

func (r fixedRoutes) Table() *fib.Table { return r.table }

// nowhere takes the place of what a bench has not: no steering program, no tunnel
// device, no slow path. What a worker would send there is an error, and counted.
type nowhere struct{}

var errNowhere = fmt.Errorf("%v: there is no slow path in a bench", packet.DropSlowPath)

func (nowhere) AddSPI(uint32) error                 { return nil }
func (nowhere) DeleteSPI(uint32) error              { return nil }
func (nowhere) AddPrefix(netip.Prefix) error        { return nil }
func (nowhere) DeletePrefix(netip.Prefix) error     { return nil }
func (nowhere) AddHome(netip.Prefix) error          { return nil }
func (nowhere) DeleteHome(netip.Prefix) error       { return nil }
func (nowhere) SetRoutes([]tun.Route) error         { return nil }
func (nowhere) SetMTU(int) error                    { return nil }
func (nowhere) AddAddress(netip.Addr) error         { return nil }
func (nowhere) RemoveAddress(netip.Addr) error      { return nil }
func (nowhere) ToHost([]byte) error                 { return errNowhere }
func (nowhere) SendPacket([]byte, netip.Addr) error { return errNowhere }
func (nowhere) Report(keysock.Message) bool         { return false }
