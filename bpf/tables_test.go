package bpf_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"spindle/bpf"
)

func TestSetLocalAddrsWritesTheDifference(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	other := netip.MustParseAddr("203.0.113.9")
	reasonOf := func(dst netip.Addr) bpf.Reason {
		_, reason := steer(t, s, eth4(v4{dst: dst, proto: protoTCP}, nil))
		return reason
	}
	check(t, s.SetLocalAddrs([]netip.Addr{other, local6, other}))
	if got := reasonOf(local4); got != bpf.PassNoPrefix {
		t.Errorf("removed address: %s", got)
	}
	if got := reasonOf(other); got != bpf.PassLocal {
		t.Errorf("added address: %s", got)
	}
	if n := s.Entries("locals"); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
	check(t, s.SetLocalAddrs([]netip.Addr{netip.AddrFrom16(local4.As16()), netip.MustParseAddr("fe80::6%eth0")}))
	if got := reasonOf(local4); got != bpf.PassLocal {
		t.Errorf("v4-mapped address was not taken as v4: %s", got)
	}
	if _, got := steer(t, s, eth6(v6{dst: netip.MustParseAddr("fe80::6"), proto: protoTCP}, nil)); got != bpf.PassLocal {
		t.Errorf("zoned address: %s", got)
	}
	if err := s.SetLocalAddrs([]netip.Addr{{}}); err == nil {
		t.Error("zero address taken")
	}
}

// A full table can still change: deletions make the room.
func TestSetLocalAddrsReplacesAFullTable(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	for _, second := range []byte{1, 2} {
		var all []netip.Addr
		for i := range bpf.MaxLocalAddrs {
			all = append(all, netip.AddrFrom4([4]byte{10, second, byte(i >> 8), byte(i)}))
		}
		check(t, s.SetLocalAddrs(all))
		if n := s.Entries("locals"); n != bpf.MaxLocalAddrs {
			t.Errorf("%d entries", n)
		}
		if err := s.SetLocalAddrs(append(all, local4)); err == nil {
			t.Error("one address too many taken")
		}
	}
}

func TestPrefixesAreShared(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	expect := func(when string, want bpf.Reason) {
		t.Helper()
		if _, got := steer(t, s, eth4(v4{dst: inside4}, nil)); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	check(t, s.AddPrefix(netip.MustParsePrefix("10.8.8.77/24"))) // the same, not masked
	check(t, s.DeletePrefix(prefix4))
	expect("one of two policies left", bpf.RedirectProtected)
	check(t, s.DeletePrefix(prefix4))
	expect("both policies left", bpf.PassNoPrefix)
	if err := s.DeletePrefix(prefix4); err == nil {
		t.Error("a third deletion succeeded")
	}
	check(t, s.AddPrefix(netip.MustParsePrefix("::/0")))
	expect("v6 default route protects no v4", bpf.PassNoPrefix)
	check(t, s.AddPrefix(netip.MustParsePrefix("0.0.0.0/0")))
	expect("v4 default route", bpf.RedirectProtected)
	check(t, s.AddPrefix(netip.PrefixFrom(inside4, 32)))
	check(t, s.DeletePrefix(netip.MustParsePrefix("0.0.0.0/0")))
	expect("host route", bpf.RedirectProtected)
	check(t, s.DeletePrefix(netip.MustParsePrefix("::/0")))
	check(t, s.DeletePrefix(prefix6))
	check(t, s.AddPrefix(netip.PrefixFrom(inside6, 127)))
	for dst, want := range map[netip.Addr]bpf.Reason{inside6: bpf.RedirectProtected, inside6.Prev(): bpf.PassNoPrefix} {
		if _, got := steer(t, s, eth6(v6{dst: dst}, nil)); got != want {
			t.Errorf("v6 /127, %s: %s, want %s", dst, got, want)
		}
	}
	if err := s.AddPrefix(netip.Prefix{}); err == nil {
		t.Error("zero prefix taken")
	}
}

func TestSPIsBySlot(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	expect := func(spi uint32, want bpf.Reason) {
		t.Helper()
		if _, got := steer(t, s, eth4(v4{dst: local4, proto: protoESP}, esp(spi))); got != want {
			t.Errorf("0x%08x: %s, want %s", spi, got, want)
		}
	}
	check(t, s.DeleteSPI(staleSPI)) // another generation holds the slot
	expect(knownSPI, bpf.RedirectESP)
	check(t, s.AddSPI(knownSPI+1))
	expect(knownSPI, bpf.RedirectUnknownSPI)
	expect(knownSPI+1, bpf.RedirectESP)
	check(t, s.DeleteSPI(knownSPI)) // late: its successor stays
	expect(knownSPI+1, bpf.RedirectESP)
	check(t, s.DeleteSPI(knownSPI+1))
	expect(knownSPI+1, bpf.RedirectUnknownSPI)
	check(t, s.DeleteSPI(knownSPI+1)) // twice is once
	for _, reserved := range []uint32{0, 255, 9 << 26} {
		if err := s.AddSPI(reserved); err == nil {
			t.Errorf("0x%08x taken", reserved)
		}
	}
}

func TestHundredThousandSPIs(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	bind(t, s, loopback, portRow, 0)
	spi := func(i int) uint32 { return uint32(i%64)<<26 | uint32(1<<18-i)<<8 | uint32(i%256) }
	for i := 1; i <= 100_000; i++ {
		check(t, s.AddSPI(spi(i)))
	}
	for i := 1; i <= 100_000; i += 997 {
		_, known := steer(t, s, eth4(v4{dst: local4, proto: protoESP}, esp(spi(i))))
		_, not := steer(t, s, eth4(v4{dst: local4, proto: protoESP}, esp(spi(i)^1)))
		if known != bpf.RedirectESP || not != bpf.RedirectUnknownSPI {
			t.Fatalf("spi %d: %s, its neighbour generation %s", i, known, not)
		}
	}
}

func TestRefusalsSayWhatToChange(t *testing.T) {
	isolate(t)
	s := gateway(t, generous)
	for _, c := range []struct {
		err  error
		want string
	}{
		{s.RegisterSocket(0, bpf.MaxQueues, 0), "ethtool -L"},
		{s.RegisterSocket(bpf.MaxPorts, 0, 0), "at most 64 ports"},
		{s.RegisterSocket(0, 0, 0), "register xsk of port 0 queue 0"}, // standard input is no socket
		{attachError(s, loopback, bpf.PortConfig{Index: 64, MAC: ourMAC, Mode: bpf.Auto}), "at most 64 ports"},
		{attachError(s, loopback, bpf.PortConfig{MAC: ourMAC[:5], Mode: bpf.Auto}), "need an Ethernet interface"},
		{attachError(s, loopback, bpf.PortConfig{MAC: ourMAC, Mode: "offload"}), "use auto, native or generic"},
		{attachError(s, 4711, bpf.PortConfig{MAC: ourMAC, Mode: bpf.Auto}), "no such interface"},
		{s.Detach(loopback), "not attached"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || strings.Contains(c.err.Error(), "\n") {
			t.Errorf("got %v, want one line with %q", c.err, c.want)
		}
	}
}

// unprivileged runs f on a thread without capabilities, which ends with it.
func unprivileged(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if unix.Capset(&header, &none[0]) == nil {
			f()
		}
	}()
	<-done
}

func TestLoadWithoutPrivileges(t *testing.T) {
	isolate(t)
	var err error
	unprivileged(func() { _, err = bpf.Load(bpf.Options{}) })
	if err == nil || !strings.Contains(err.Error(), "CAP_BPF and CAP_NET_ADMIN are needed") {
		t.Errorf("got %v", err)
	}
	load(t, bpf.Options{}) // and with them it works again
}

func attachError(s *bpf.Steer, ifindex int, port bpf.PortConfig) error {
	_, err := s.Attach(ifindex, port)
	return err
}

func TestPrefixTableFull(t *testing.T) {
	isolate(t)
	s := load(t, bpf.Options{})
	for i := range bpf.MaxPrefixes {
		check(t, s.AddPrefix(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32)))
	}
	err := s.AddPrefix(prefix6)
	if want := fmt.Sprintf("full at %d", bpf.MaxPrefixes); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func BenchmarkAddDeleteSPI(b *testing.B) {
	isolate(b)
	s := load(b, bpf.Options{})
	for i := 0; b.Loop(); i++ {
		spi := uint32(1+i%200_000) << 8
		if s.AddSPI(spi) != nil || s.DeleteSPI(spi) != nil {
			b.Fatal("refused")
		}
	}
}
