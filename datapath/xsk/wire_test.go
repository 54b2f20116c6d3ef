package xsk_test

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spindle/datapath/xsk"
)

// etherType is one for local experiments (IEEE 802): only it is redirected, so
// that nothing the kernel sends by itself is counted.
const etherType = 0x88b5

// wire is a veth pair in a network namespace without a name, which disappears
// with the test's thread: dut has the program and the sockets, far is the
// other end as a plain packet socket.
type wire struct {
	dut, far netlink.Link
	xsks     *ebpf.Map
	packets  int // packet socket on far
	opener   xsk.Opener
}

func newWire(t *testing.T, on xsk.Opener, mtu int) *wire {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, XDP and AF_XDP")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	ns, err := netns.New()
	must(t, err)
	must(t, ns.Close())
	must(t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "dut", MTU: mtu, NumTxQueues: 2, NumRxQueues: 2},
		// One queue to send by, or a hash whose seed is new at each boot would choose
		// the queue that frames arrive at (skb_tx_hash in net/core/dev.c).
		PeerName: "far", PeerNumTxQueues: 1, PeerNumRxQueues: 2,
	}))
	w := &wire{opener: on, dut: linkByName(t, "dut"), far: linkByName(t, "far")}
	for _, l := range []netlink.Link{w.dut, w.far} {
		must(t, netlink.LinkSetIP6AddrGenMode(l, 1))
		must(t, netlink.LinkSetUp(l))
	}
	w.attach(t)
	w.packets, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(htons(etherType)))
	must(t, err)
	t.Cleanup(func() { unix.Close(w.packets) })
	must(t, unix.Bind(w.packets, &unix.SockaddrLinklayer{Protocol: htons(etherType), Ifindex: w.far.Attrs().Index}))
	return w
}

func linkByName(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attach puts the smallest possible program on dut: frames of our type go to
// the socket of their queue, everything else to the kernel.
func (w *wire) attach(t *testing.T) {
	t.Helper()
	must(t, rlimit.RemoveMemlock())
	var err error
	w.xsks, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 4})
	must(t, err)
	t.Cleanup(func() { w.xsks.Close() })
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, 14),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R5, int32(htons(etherType)), "pass"),
		asm.LoadMem(asm.R2, asm.R1, 16, asm.Word), // rx_queue_index
		asm.LoadMapPtr(asm.R1, w.xsks.FD()),
		asm.Mov.Imm(asm.R3, 2), // XDP_PASS without a socket
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 2).WithSymbol("pass"),
		asm.Return(),
	}})
	must(t, err)
	t.Cleanup(func() { prog.Close() })
	l, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: w.dut.Attrs().Index, Flags: link.XDPDriverMode})
	must(t, err)
	t.Cleanup(func() { l.Close() })
}

// open opens queue 0 with small rings and puts it into the map.
func (w *wire) open(t *testing.T, o xsk.Options) *xsk.Socket {
	t.Helper()
	o.Name, o.Opener = "dut", w.opener
	if o.RingSize == 0 {
		o.RingSize = 256
	}
	s, err := xsk.Open(o)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	must(t, w.xsks.Update(uint32(o.Queue), uint32(s.FD()), ebpf.UpdateAny))
	return s
}

func frame(serial uint32, size int) []byte {
	f := make([]byte, size)
	copy(f, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01")
	binary.BigEndian.PutUint16(f[12:], etherType)
	binary.BigEndian.PutUint32(f[14:], serial)
	return f
}

func serialOf(f []byte) uint32 { return binary.BigEndian.Uint32(f[14:]) }

func (w *wire) sendFromFar(t *testing.T, f []byte) {
	t.Helper()
	must(t, unix.Sendto(w.packets, f, 0, &unix.SockaddrLinklayer{Ifindex: w.far.Attrs().Index, Halen: 6}))
}

// receiveAtFar collects the serial numbers that arrive until n are there or
// nothing more comes.
func (w *wire) receiveAtFar(n int) (serials []uint32) {
	within(func() bool {
		serials = append(serials, w.receiveNow()...)
		return len(serials) >= n
	})
	return serials
}

// receiveNow collects the serial numbers that have arrived. What far sends
// itself is seen as well, marked outgoing.
func (w *wire) receiveNow() (serials []uint32) {
	b := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(w.packets, b, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EINTR) {
			continue // reported once after the link was down
		}
		if err != nil {
			return serials
		}
		if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING && n >= 18 {
			serials = append(serials, serialOf(b))
		}
	}
}

// within polls a condition for up to two seconds.
func within(done func() bool) bool {
	for range 400 {
		if done() {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// receive peeks until n frames have come, checking their order.
func receive(t *testing.T, s *xsk.Socket, first uint32, n int) {
	t.Helper()
	var batch [16][]byte
	next := first
	ok := within(func() bool {
		for k := s.Peek(batch[:]); k > 0; k = s.Peek(batch[:]) {
			for _, f := range batch[:k] {
				if got := serialOf(f); got != next {
					t.Fatalf("frame %d arrived, want %d", got, next)
				}
				next++
			}
			s.Release()
		}
		return next-first >= uint32(n)
	})
	if !ok {
		stats, _ := s.Stats()
		t.Fatalf("%d of %d frames arrived; %+v", next-first, n, stats)
	}
}

func transmit(t *testing.T, s *xsk.Socket, first uint32, n int) {
	t.Helper()
	for i := range n {
		f := s.Reserve()
		if f == nil {
			t.Fatalf("no TX frame after %d", i)
		}
		s.Submit(copy(f, frame(first+uint32(i), 60)))
	}
	must(t, s.Flush())
}
