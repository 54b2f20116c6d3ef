package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"spindle/bpf"
	"spindle/datapath"
	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/datapath/xsk"
	"spindle/sadb"
	"spindle/tools/netlab"
)

// wires is a gateway between two veth pairs, whose far ends are ours as well:
//
//	host: eth0 ------ in0 [ gateway: the real program, sockets and worker ] out0 ------ eth0 :peer
type wires struct {
	lab    *netlab.Lab
	ends   [2]*farEnd // by the gateway's port
	steer  *bpf.Steer
	ports  *datapath.Ports
	group  *datapath.Group
	server *datapath.Server
	umem   string       // of the gateway, as the configuration spells it
	stop   func() error // ends the worker
}

// farEnd is the end of a wire that the gateway does not have: an AF_XDP socket
// that gets whatever arrives.
type farEnd struct {
	*xsk.Socket
	closers []func() error
}

// newWires builds all of it, the gateway's frames on the pages that umem asks for,
// and starts the worker on a CPU.
func newWires(suite esp.Suite, crypto *esp.Crypto, cpu int, umem string) (_ *wires, err error) {
	w := &wires{umem: umem, stop: func() error { return nil }}
	if w.lab, err = netlab.New("bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	spaces := [3]*netlab.NS{}
	for i, name := range []string{"host", "gateway", "peer"} {
		if spaces[i], err = w.lab.Namespace(name); err != nil {
			return nil, err
		}
		if err = spaces[i].Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil {
			return nil, err
		}
	}
	host, gateway, peer := spaces[0], spaces[1], spaces[2]
	end := func(ns *netlab.NS, name string, mac packet.MAC) netlab.End {
		return netlab.End{NS: ns, Name: name, MAC: net.HardwareAddr(mac[:])}
	}
	if err = errors.Join(
		w.lab.Link(end(host, "eth0", hostMAC), end(gateway, "in0", inMAC)),
		w.lab.Link(end(gateway, "out0", outMAC), end(peer, "eth0", peerMAC)),
		rlimit.RemoveMemlock(),
	); err != nil {
		return nil, err
	}
	if err = gateway.Do(w.openGateway); err != nil {
		return nil, err
	}
	for port, ns := range map[int]*netlab.NS{inPort: host, outPort: peer} {
		if err = ns.Do(func() error { w.ends[port], err = openFarEnd("eth0"); return err }); err != nil {
			return nil, err
		}
	}
	return w, w.run(suite, crypto, cpu)
}

// openGateway opens the ports, in the gateway's namespace.
func (w *wires) openGateway() (err error) {
	links, err := datapath.FindLinks([]string{"out0"}, []string{"in0"})
	if err != nil {
		return err
	}
	if w.steer, err = bpf.Load(bpf.Options{}); err != nil {
		return err
	}
	if err = w.steer.SetLocalAddrs([]netip.Addr{gatewayAddr}); err != nil {
		return err
	}
	w.ports, err = datapath.OpenPorts(links, w.steer, bpf.Native, w.umem)
	return err
}

// run installs one tunnel and starts the worker.
func (w *wires) run(suite esp.Suite, crypto *esp.Crypto, cpu int) (err error) {
	table := fixedRoutes{routes()}
	db := datapath.NewDB()
	if w.group, err = datapath.NewGroup(w.ports.Queues(), db, table, nowhere{}); err != nil {
		return err
	}
	w.server = &datapath.Server{DB: db, Group: w.group, Steering: w.steer, Host: nowhere{}, Routes: table, Crypto: crypto}
	if err = errors.Join(w.server.PolicyAdd(policy(0)), w.server.Add(sa(0, sadb.Inbound, suite)), w.server.Add(sa(0, sadb.Outbound, suite))); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.group.Workers[0].Run(ctx, cpu) }()
	w.stop = func() error { cancel(); return <-ended }
	return nil
}

// verdicts are the worker's counters, as last published.
func (w *wires) verdicts() map[string]uint64 {
	counts := map[string]uint64{}
	names, values := w.group.Workers[0].Counters()
	for i, name := range names {
		counts[name] = values[i]
	}
	return counts
}

func (w *wires) close() error {
	errs := []error{w.stop()}
	if w.group != nil {
		w.group.Close()
	}
	if w.ports != nil {
		errs = append(errs, w.ports.Close())
	}
	if w.steer != nil {
		errs = append(errs, w.steer.Close())
	}
	for _, e := range w.ends {
		if e != nil {
			errs = append(errs, e.close())
		}
	}
	return errors.Join(append(errs, w.lab.Close())...)
}

// openFarEnd opens an interface of the current network namespace and takes every
// frame that arrives.
func openFarEnd(name string) (_ *farEnd, err error) {
	e := &farEnd{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	sockets, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make XSKMAP: %w", err)
	}
	e.closers = append(e.closers, sockets.Close)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R2, 0), // the only queue
		asm.Mov.Imm(asm.R3, 1), // XDP_DROP without a socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
	}})
	if err != nil {
		return nil, fmt.Errorf("load XDP program: %w", err)
	}
	e.closers = append(e.closers, program.Close)
	attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifi.Index, Flags: link.XDPDriverMode})
	if err != nil {
		return nil, fmt.Errorf("attach XDP program to %s: %w", name, err)
	}
	e.closers = append(e.closers, attached.Close)
	if e.Socket, err = xsk.Open(xsk.Options{Ifindex: ifi.Index, RingSize: 4096}); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.Socket.Close)
	return e, sockets.Put(uint32(0), uint32(e.FD()))
}

func (e *farEnd) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	return errors.Join(errs...)
}
