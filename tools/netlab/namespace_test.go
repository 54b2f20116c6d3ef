package netlab_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"spindle/tools/netlab"
)

func netInode(t *testing.T) string {
	t.Helper()
	link, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	return link
}

func TestDo(t *testing.T) {
	g := newGateways(t, "do", netlab.Options{})
	outside := netInode(t)
	var r6, r8 string
	var conn net.PacketConn
	must(t, g.R6.Do(func() (err error) {
		r6 = netInode(t)
		must(t, g.R8.Do(func() error { r8 = netInode(t); return nil }))
		if netInode(t) != r6 {
			t.Error("a nested Do does not come back")
		}
		conn, err = net.ListenPacket("udp", "192.0.2.6:0")
		return err
	}))
	defer conn.Close()
	if r6 == outside || r8 == outside || r6 == r8 || netInode(t) != outside {
		t.Errorf("outside %s, r6 %s, r8 %s, after %s", outside, r6, r8, netInode(t))
	}
	if _, err := net.ListenPacket("udp", conn.LocalAddr().String()); err == nil {
		t.Error("the address is usable outside its namespace")
	}
	want := errors.New("mine")
	if err := g.R6.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = g.R6.Do(func() error { panic("on purpose") })
	}()
	if netInode(t) != outside {
		t.Error("a panic leaves the thread in the namespace")
	}
}

func TestCommand(t *testing.T) {
	g := newGateways(t, "cmd", netlab.Options{Queues: 3})
	ctx := within(t, 10*time.Second)
	out, err := g.R6.Run(ctx, "sh", "-c", "ls /sys/class/net; ls -d /sys/class/net/out0/queues/rx-*; echo $$")
	if err != nil || !strings.Contains(out, "in0\n") || !strings.Contains(out, "out0\n") || !strings.Contains(out, "rx-2") || strings.Contains(out, "rx-3") {
		t.Errorf("%q, %v", out, err)
	}
	p, err := g.R6.Start("sh", "-c", "echo $$; exec sleep 300")
	must(t, err)
	for deadline := time.Now().Add(5 * time.Second); p.Output() == "" && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if p.Output() != fmt.Sprintln(p.PID) {
		t.Errorf("the command is process %q, we know %d", p.Output(), p.PID)
	}
	p.Stop()
	p.Stop()
	if p.Wait() == nil {
		t.Error("a terminated process reports success")
	}
	if _, err := g.R6.Run(ctx, "no-such-program"); err == nil {
		t.Error("no error for a program that is not there")
	}
}

func TestRefusals(t *testing.T) {
	needRoot(t)
	for _, name := range []string{"", "UP", "a/b", "a--b", "-a", "a_b"} {
		if lab, err := netlab.New(name); err == nil {
			t.Errorf("%q is accepted", name)
			must(t, lab.Close())
		}
	}
}
