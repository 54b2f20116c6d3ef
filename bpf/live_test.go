package bpf_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spindle/bpf"
)

// wire is a veth pair in the test's namespace: what generator sends, port receives.
type wire struct {
	port      *net.Interface
	generator int // ifindex
	raw       int // packet socket
}

func newWire(t *testing.T, queues int) wire {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = "port0", queues, queues
	attrs.HardwareAddr = net.HardwareAddr(ourMAC)
	check(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "gen0", PeerNumRxQueues: uint32(queues), PeerNumTxQueues: uint32(queues)}))
	for _, name := range []string{"port0", "gen0"} {
		check(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0o644))
		l, err := netlink.LinkByName(name)
		check(t, err)
		check(t, netlink.LinkSetUp(l))
	}
	port, err := net.InterfaceByName("port0")
	check(t, err)
	generator, err := net.InterfaceByName("gen0")
	check(t, err)
	raw, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	t.Cleanup(func() { unix.Close(raw) })
	return wire{port, generator.Index, raw}
}

func (w wire) send(t *testing.T, frame []byte) {
	t.Helper()
	check(t, unix.Sendto(w.raw, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.generator}))
}

func (w wire) config(mode bpf.Mode) bpf.PortConfig {
	return bpf.PortConfig{Index: portRow, Role: bpf.Outside | bpf.Inside, MAC: w.port.HardwareAddr, Mode: mode}
}

// eventually waits until a port has counted reason n times.
func eventually(t *testing.T, read func(row int) (bpf.Counts, error), reason bpf.Reason, n uint64) {
	t.Helper()
	var got uint64
	for range 200 {
		counts, err := read(portRow)
		check(t, err)
		if got = counts.Frames[reason]; got >= n {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got != n {
		t.Fatalf("%s counted %d, want %d", reason, got, n)
	}
}

func counts(s *bpf.Steer) func(row int) (bpf.Counts, error) {
	return func(row int) (bpf.Counts, error) {
		all, err := s.Counters()
		for _, c := range all {
			if c.Port == row {
				return c, err
			}
		}
		return bpf.Counts{}, err
	}
}

func TestLiveNativeVeth(t *testing.T) {
	isolate(t)
	w := newWire(t, 2)
	s := load(t, bpf.Options{})
	fill(t, s)
	mode, err := s.Attach(w.port.Index, w.config(bpf.Auto))
	check(t, err)
	if mode != "native" {
		t.Fatalf("obtained %q, want native", mode)
	}
	known := eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI))
	w.send(t, known)
	eventually(t, counts(s), bpf.PassESPNoSocket, 1)

	var buf [4096]byte
	xsk := bind(t, s, w.port.Index, portRow, 0)
	xsk.Fill(xsk.GetDescs(32))
	for range 10 {
		w.send(t, known)
	}
	w.send(t, eth4(v4{dst: local4, proto: protoUDP}, udp(4500, []byte{0xff})))
	w.send(t, eth4(v4{dst: inside4, proto: protoTCP}, buf[:20]))
	w.send(t, ethernet(ourMAC, nil, 0x0806, buf[:28]))
	// Both queues have a device queue behind them, only the first a socket.
	eventually(t, counts(s), bpf.DropKeepalive, 1)
	eventually(t, counts(s), bpf.PassNotIP, 1)
	c, err := counts(s)(portRow)
	check(t, err)
	redirected := c.Frames[bpf.RedirectESP] + c.Frames[bpf.RedirectProtected]
	missed := c.Frames[bpf.PassESPNoSocket] - 1 + c.Frames[bpf.PassProtectedNoSocket]
	if redirected == 0 || redirected+missed != 11 {
		t.Errorf("%d redirected, %d without socket, sent 11", redirected, missed)
	}
	got := 0
	for range 100 {
		n, _, err := xsk.Poll(20)
		check(t, err)
		for _, d := range xsk.Receive(n) {
			if frame := xsk.GetFrame(d); string(frame[:6]) != string(ourMAC) {
				t.Errorf("received %x", frame)
			}
			got++
		}
		if got >= int(redirected) {
			break
		}
	}
	if got != int(redirected) {
		t.Errorf("%d frames in the socket, %d redirected", got, redirected)
	}
	check(t, s.Detach(w.port.Index))
	w.send(t, known)
	time.Sleep(20 * time.Millisecond)
	after, err := counts(s)(portRow)
	check(t, err)
	if after != c {
		t.Errorf("counters moved after Detach")
	}
}

// Queue 64 of a port has no place of its own: it must not use the next port's.
func TestSocketsAreKeyedByPortAndQueue(t *testing.T) {
	isolate(t)
	w := newWire(t, bpf.MaxQueues+1)
	s := load(t, generous)
	fill(t, s)
	_, err := s.Attach(w.port.Index, w.config(bpf.Native))
	check(t, err)
	xsk := bind(t, s, w.port.Index, portRow, 1)
	check(t, s.RegisterSocket(portRow+1, 0, xsk.FD()))
	known := eth4(v4{dst: local4, proto: protoESP}, esp(knownSPI))
	for queue, want := range map[int]bpf.Reason{
		0: bpf.PassESPNoSocket, 1: bpf.RedirectESP, bpf.MaxQueues - 1: bpf.PassESPNoSocket, bpf.MaxQueues: bpf.PassESPNoSocket,
	} {
		if _, got := steerFrom(t, s, known, w.port.Index, queue); got != want {
			t.Errorf("queue %d: %s, want %s", queue, got, want)
		}
	}
}

func TestSocketsAreForgottenWhenClosed(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	check(t, s.SetFailClosed(true))
	fd := bareSocket(t, loopback)
	check(t, s.RegisterSocket(portRow, 0, fd))
	clear4 := eth4(v4{dst: inside4, proto: protoTCP}, nil)
	if _, got := steer(t, s, clear4); got != bpf.RedirectProtected {
		t.Fatalf("with a socket: %s", got)
	}
	check(t, unix.Close(fd))
	deadline := time.Now().Add(5 * time.Second)
	for time.Now().Before(deadline) {
		if _, got := steer(t, s, clear4); got == bpf.DropFailClosed {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the program still redirects to a closed socket")
}

// bareSocket is an AF_XDP socket without mapped rings: closing the descriptor is
// the end of it, as the end of a process is. asavie's Close keeps the mappings.
func bareSocket(t *testing.T, ifindex int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	area, err := unix.Mmap(-1, 0, 16*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	check(t, err)
	t.Cleanup(func() { unix.Munmap(area) })
	umem := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(&area[0]))), Len: uint64(len(area)), Size: 4096}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&umem)), unsafe.Sizeof(umem), 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		check(t, unix.SetsockoptInt(fd, unix.SOL_XDP, ring, 16))
	}
	check(t, unix.Bind(fd, &unix.SockaddrXDP{Ifindex: uint32(ifindex)}))
	return fd
}

func TestModes(t *testing.T) {
	isolate(t)
	w := newWire(t, 2)
	s, other := load(t, bpf.Options{}), load(t, bpf.Options{})

	mode, err := s.Attach(w.port.Index, w.config(bpf.Generic))
	check(t, err)
	if mode != "generic" {
		t.Errorf("obtained %q, want generic", mode)
	}
	for _, m := range []bpf.Mode{bpf.Auto, bpf.Native, bpf.Generic} {
		if err := attachError(other, w.port.Index, w.config(m)); err == nil || !strings.Contains(err.Error(), "another xdp program is attached") {
			t.Errorf("%s next to another program: %v", m, err)
		}
	}
	check(t, s.Detach(w.port.Index))

	// The loopback driver has no XDP.
	if err := attachError(s, loopback, w.config(bpf.Native)); err == nil || !strings.Contains(err.Error(), "xdp: generic") {
		t.Errorf("native on lo: %v", err)
	}
	mode, err = s.Attach(loopback, w.config(bpf.Auto))
	check(t, err)
	if !strings.HasPrefix(mode, "generic, because native: ") {
		t.Errorf("auto on lo obtained %q", mode)
	}
	if err := attachError(s, w.port.Index, w.config(bpf.Auto)); err == nil || !strings.Contains(err.Error(), "belongs to lo") {
		t.Errorf("two ports of one index: %v", err)
	}
}

// Unpinned, a killed process leaves nothing behind.
func TestCrashUnpinned(t *testing.T) {
	isolate(t)
	w := newWire(t, 2)
	dead, err := bpf.Load(bpf.Options{})
	check(t, err)
	_, err = dead.Attach(w.port.Index, w.config(bpf.Native))
	check(t, err)
	read, err := dead.Crash()
	check(t, err)
	w.send(t, ethernet(ourMAC, nil, 0x0806, make([]byte, 28)))

	next := load(t, bpf.Options{})
	_, err = next.Attach(w.port.Index, w.config(bpf.Native))
	check(t, err)
	eventually(t, read, bpf.PassNotIP, 0)
}

// Pinned, a killed process's program stays fail-closed until the next takes over.
func TestCrashPinned(t *testing.T) {
	isolate(t)
	w := newWire(t, 2)
	opts := bpf.Options{PinDir: bpffs(t)}
	dead, err := bpf.Load(opts)
	check(t, err)
	fill(t, dead)
	check(t, dead.SetFailClosed(true))
	_, err = dead.Attach(w.port.Index, w.config(bpf.Native))
	check(t, err)
	read, err := dead.Crash()
	check(t, err)
	clear4 := eth4(v4{dst: inside4, proto: protoTCP}, nil)
	w.send(t, clear4)
	eventually(t, read, bpf.DropFailClosed, 1)

	next := load(t, opts)
	fill(t, next)
	mode, err := next.Attach(w.port.Index, w.config(bpf.Auto))
	check(t, err)
	if mode != "native" {
		t.Errorf("took over %q, want native", mode)
	}
	w.send(t, clear4)
	eventually(t, counts(next), bpf.PassProtectedNoSocket, 1)
	eventually(t, read, bpf.DropFailClosed, 1)

	check(t, next.Sweep()) // a port in use stays
	w.send(t, clear4)
	eventually(t, counts(next), bpf.PassProtectedNoSocket, 2)
	check(t, next.Detach(w.port.Index))
	if pins, _ := filepath.Glob(filepath.Join(opts.PinDir, "xdp-*")); len(pins) != 0 {
		t.Errorf("pins left: %v", pins)
	}
}

// What the configuration no longer names is swept; what cannot be taken over is replaced.
func TestStalePins(t *testing.T) {
	isolate(t)
	w := newWire(t, 2)
	opts := bpf.Options{PinDir: bpffs(t)}
	for _, mode := range []bpf.Mode{bpf.Native, bpf.Generic} {
		dead, err := bpf.Load(opts)
		check(t, err)
		_, err = dead.Attach(w.port.Index, w.config(mode)) // the second time over a native pin
		check(t, err)
		_, err = dead.Crash()
		check(t, err)
	}
	next := load(t, opts)
	check(t, next.Sweep())
	other := load(t, bpf.Options{})
	_, err := other.Attach(w.port.Index, w.config(bpf.Native))
	check(t, err)
}

// bpffs mounts one that only this thread sees and that ends with it.
func bpffs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, unix.Unshare(unix.CLONE_NEWNS))
	check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}
