package tun_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"spindle/datapath/tun"
)

// enter puts the test into a network namespace without a name, which
// disappears with the test's thread.
func enter(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and /dev/net/tun")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	ns, err := netns.New()
	must(t, err)
	must(t, ns.Close())
	lo := linkByName(t, "lo")
	must(t, netlink.LinkSetUp(lo))
	for _, a := range []string{"10.6.6.6/32", "2001:db8:6::6/128"} {
		addr, err := netlink.ParseAddr(a)
		must(t, err)
		addr.Flags = unix.IFA_F_NODAD // usable at once
		must(t, netlink.AddrAdd(lo, addr))
	}
	waitForLocal6(t)
}

// waitForLocal6: the kernel makes an IPv6 address local from a work queue.
func waitForLocal6(t *testing.T) {
	t.Helper()
	for range 400 {
		local := ip(t, "-6", "route", "show", "table", "local")
		if slices.ContainsFunc(local, func(r string) bool { return strings.HasPrefix(r, "local 2001:db8:6::6 ") }) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("the address does not become local")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func linkByName(t *testing.T, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return l
}

func open(t *testing.T) *tun.Device {
	t.Helper()
	d, err := tun.Open("spindle0", 1400)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func TestOpen(t *testing.T) {
	enter(t)
	d := open(t)
	l := linkByName(t, "spindle0").Attrs()
	if d.Name() != "spindle0" || d.Index() != l.Index || l.MTU != 1400 || l.Flags&unix.IFF_UP == 0 {
		t.Errorf("device %s index %d, kernel has %+v", d.Name(), d.Index(), l)
	}
	if _, err := tun.Open("spindle0", 1400); err == nil || !strings.Contains(err.Error(), "open tun spindle0: another process has this device") {
		t.Errorf("opening it twice says %v", err)
	}
	if _, err := tun.Open("lo", 1400); err == nil || !strings.Contains(err.Error(), "open tun lo: a device of this name exists and is no tun") {
		t.Errorf("opening lo says %v", err)
	}
	if _, err := tun.Open("spindle1", 1); err == nil || !strings.Contains(err.Error(), "set mtu 1") {
		t.Errorf("an impossible mtu says %v", err)
	}
	if _, err := netlink.LinkByName("spindle1"); err == nil {
		t.Error("a device that could not be configured is still there")
	}
	// The attempts that were refused must not have taken the rules away.
	wantRules(t, 2)
}

// The kernel answers an echo request that came out of a tunnel, and the answer
// goes back into it.
func TestEcho(t *testing.T) {
	for _, c := range []struct {
		name    string
		request []byte
		remote  string
	}{
		{"IPv4", echo4(), "10.8.8.8/32"},
		{"IPv6", echo6(), "2001:db8:8::8/128"},
	} {
		t.Run(c.name, func(t *testing.T) {
			enter(t)
			d := open(t)
			must(t, d.SetRoutes([]tun.Route{route(c.remote, "")}))
			n, err := d.Write(c.request)
			if err != nil || n != len(c.request) {
				t.Fatalf("wrote %d: %v", n, err)
			}
			reply := read(t, d)
			if want := replyTo(c.request); !bytes.Equal(blank(reply), blank(want)) {
				t.Errorf("read\n%x, want\n%x", reply, want)
			}
		})
	}
}

// A reverse path filter of the host does not stop what was decrypted. Without
// one, no route back is needed either.
func TestReversePathFilterDoesNotStopTunnelTraffic(t *testing.T) {
	for _, host := range []string{"0", "1", "2"} {
		enter(t)
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte(host), 0))
		addPort(t, "inside", "10.8.8.1/24")
		d := open(t)
		if host != "0" {
			must(t, d.SetRoutes([]tun.Route{route("10.8.8.8/32", "10.6.6.6")}))
		}
		before := echosIn(t)
		_, err := d.Write(echo4())
		must(t, err)
		if got := echosIn(t) - before; got != 1 {
			t.Errorf("rp_filter %s: %d echo requests reached the stack, want 1", host, got)
		}
	}
}

// A packet for a neighbour that is not resolved yet is forwarded by the kernel,
// also on a host that is no router.
func TestKernelForwardsFromDevice(t *testing.T) {
	enter(t)
	addPort(t, "inside", "10.7.7.1/24")
	d := open(t)
	p := echo4()
	copy(p[16:20], []byte{10, 7, 7, 7})
	clear(p[10:12])
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	_, err := d.Write(p)
	must(t, err)
	neighbours, err := netlink.NeighList(linkByName(t, "inside").Attrs().Index, netlink.FAMILY_V4)
	must(t, err)
	if len(neighbours) != 1 || neighbours[0].IP.String() != "10.7.7.7" {
		t.Errorf("the kernel does not look for the neighbour: %v", neighbours)
	}
}

// addPort adds an interface with an address, and nobody at the other end.
func addPort(t *testing.T, name, address string) {
	t.Helper()
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-far"}))
	must(t, netlink.LinkSetUp(linkByName(t, name+"-far")))
	must(t, netlink.LinkSetUp(linkByName(t, name)))
	addr, err := netlink.ParseAddr(address)
	must(t, err)
	must(t, netlink.AddrAdd(linkByName(t, name), addr))
}

func echosIn(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/snmp")
	must(t, err)
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if fields[0] != "Icmp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "InEchos" {
				return atoi(t, fields[i])
			}
		}
	}
	t.Fatal("no InEchos in snmp")
	return 0
}

// Nothing comes out of the device that nobody sent: no router solicitations,
// no listener reports.
func TestDeviceIsQuiet(t *testing.T) {
	enter(t)
	d := open(t)
	must(t, d.SetRoutes([]tun.Route{route("10.8.8.8/32", ""), route("2001:db8:8::/48", "")}))
	addrs, err := netlink.AddrList(linkByName(t, "spindle0"), netlink.FAMILY_ALL)
	must(t, err)
	if len(addrs) > 0 {
		t.Errorf("the device has addresses: %v", addrs)
	}
	fds := []unix.PollFd{{Fd: int32(d.FD()), Events: unix.POLLIN}}
	if n, _ := unix.Poll(fds, 1500); n > 0 {
		t.Errorf("read %x", read(t, d))
	}
}

func TestWriteRefusesWhatIsNotIP(t *testing.T) {
	enter(t)
	d := open(t)
	for _, b := range [][]byte{{}, {0}, {0x55, 1, 2, 3}} {
		if _, err := d.Write(b); len(b) > 0 && err == nil {
			t.Errorf("%x was accepted", b)
		}
	}
	if _, err := d.Write(echo4()); err != nil {
		t.Errorf("after that a packet is refused: %v", err)
	}
}

func TestCloseEndsRead(t *testing.T) {
	enter(t)
	d := open(t)
	ended := make(chan error, 1)
	go func() {
		_, err := d.Read(make([]byte, 1500))
		ended <- err
	}()
	time.Sleep(20 * time.Millisecond)
	must(t, d.Close())
	must(t, d.Close())
	select {
	case err := <-ended:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("read ended with %v", err)
		}
	case <-time.After(2 * time.Second):
		t.Error("read goes on after Close")
	}
	if _, err := netlink.LinkByName("spindle0"); err == nil {
		t.Error("the device is still there")
	}
}

func TestReadAndWriteAllocateNothing(t *testing.T) {
	enter(t)
	d := open(t)
	must(t, d.SetRoutes([]tun.Route{route("10.8.8.8/32", "")}))
	request, b := echo4(), make([]byte, 1500)
	got := testing.AllocsPerRun(100, func() {
		if _, err := d.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Read(b); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Errorf("%v allocations per packet", got)
	}
}

func read(t *testing.T, d *tun.Device) []byte {
	t.Helper()
	got := make(chan []byte, 1)
	go func() {
		b := make([]byte, 1500)
		if n, err := d.Read(b); err == nil {
			got <- b[:n]
		}
	}()
	select {
	case b := <-got:
		return b
	case <-time.After(2 * time.Second):
		t.Fatal("nothing to read")
		return nil
	}
}

// echo4 is an echo request from 10.8.8.8 to 10.6.6.6.
func echo4() []byte {
	p := []byte{
		0x45, 0, 0, 36, 0, 1, 0x40, 0, 64, 1, 0, 0, 10, 8, 8, 8, 10, 6, 6, 6,
		8, 0, 0, 0, 0x53, 0x50, 0, 1, 's', 'p', 'i', 'n', 'd', 'l', 'e', '!',
	}
	binary.BigEndian.PutUint16(p[10:], checksum(p[:20]))
	binary.BigEndian.PutUint16(p[22:], checksum(p[20:]))
	return p
}

// echo6 is an echo request from 2001:db8:8::8 to 2001:db8:6::6.
func echo6() []byte {
	p := []byte{0x60, 0, 0, 0, 0, 16, 58, 64}
	p = append(p, "\x20\x01\x0d\xb8\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08"...)
	p = append(p, "\x20\x01\x0d\xb8\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x06"...)
	p = append(p, 128, 0, 0, 0, 0x53, 0x50, 0, 1, 's', 'p', 'i', 'n', 'd', 'l', 'e', '!')
	pseudo := append(bytes.Clone(p[8:40]), 0, 0, 0, 16, 0, 0, 0, 58)
	binary.BigEndian.PutUint16(p[42:], checksum(append(pseudo, p[40:]...)))
	return p
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// replyTo swaps the addresses and makes a reply of the request.
func replyTo(request []byte) []byte {
	p := bytes.Clone(request)
	if p[0]>>4 == 4 {
		copy(p[12:16], request[16:20])
		copy(p[16:20], request[12:16])
		p[20] = 0
		return p
	}
	copy(p[8:24], request[24:40])
	copy(p[24:40], request[8:24])
	p[40] = 129
	return p
}

// blank clears what the kernel chooses: identification, fragment flags, flow
// label, and the checksums that cover them.
func blank(p []byte) []byte {
	p = bytes.Clone(p)
	if p[0]>>4 == 4 && len(p) >= 24 {
		clear(p[4:8])
		clear(p[10:12])
		clear(p[22:24])
	} else if len(p) >= 44 {
		clear(p[1:4])
		clear(p[42:44])
	}
	return p
}
