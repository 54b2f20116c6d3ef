package datapath

import (
	"net/netip"
	"sync/atomic"

	"spindle/datapath/tun"
	"spindle/sadb/keysock"
)

// maxReports bounds what waits for the control process to read.
const maxReports = 1024

// Kernel is the SlowPath of a running gateway: the tunnel device, the raw
// sockets, and the queue of reports to the control process.
type Kernel struct {
	Host    *tun.Device
	Sockets *Sockets
	Reports chan keysock.Message

	unreported atomic.Uint64 // messages that found Reports full
}

// NewKernel joins them.
func NewKernel(host *tun.Device, sockets *Sockets) *Kernel {
	return &Kernel{Host: host, Sockets: sockets, Reports: make(chan keysock.Message, maxReports)}
}

// ToHost gives an IP packet to this host's stack.
func (k *Kernel) ToHost(ip []byte) error {
	_, err := k.Host.Write(ip)
	return err
}

// SendPacket sends an outer packet by the kernel's routes.
func (k *Kernel) SendPacket(ip []byte, dst netip.Addr) error { return k.Sockets.SendPacket(ip, dst) }

// Report queues a message for the control process.
func (k *Kernel) Report(m keysock.Message) bool {
	select {
	case k.Reports <- m:
		return true
	default:
		k.unreported.Add(1)
		return false
	}
}

// Counters are the reports that the control process never got.
func (k *Kernel) Counters() keysock.Counters {
	return keysock.Counters{
		Source: "reports", Names: []string{"drop_report_queue_full"}, Values: []uint64{k.unreported.Load()},
	}
}

// Punt queues an IKE datagram that came by one of the kernel's sockets.
func (k *Kernel) Punt(local, remote netip.AddrPort, message []byte) {
	k.Report(keysock.Punt{Local: local, Remote: remote, Data: append([]byte(nil), message...)})
}

// ReadHost carries this host's own packets from the tunnel device to the
// workers until the device is closed.
func (k *Kernel) ReadHost(g *Group) error {
	buf := make([]byte, 1<<16)
	for {
		n, err := k.Host.Read(buf)
		if err != nil {
			return err
		}
		g.FromHost(buf[:n])
	}
}
