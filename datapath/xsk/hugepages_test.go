package xsk_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/xsk"
	"spindle/tools/netlab"
)

// roomy is enough pages for two sockets of the longest frames, and for what another
// program takes meanwhile.
const roomy = 24

// onEither runs a test with each opener.
func onEither(t *testing.T, test func(*testing.T, xsk.Opener)) {
	t.Run("ordinary pages", func(t *testing.T) { test(t, xsk.Asavie{}) })
	t.Run("2 MiB pages", func(t *testing.T) {
		reserve(t, roomy)
		test(t, xsk.HugePages{})
	})
}

// reserve has the host set pages aside until the test ends.
func reserve(t *testing.T, pages int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it reserves 2 MiB pages")
	}
	undo, err := netlab.ReserveHugePages(pages)
	must(t, err)
	t.Cleanup(func() { must(t, undo()) })
}

func free(t *testing.T) int {
	t.Helper()
	n, err := netlab.FreeHugePages()
	must(t, err)
	return n
}

// hugeMappings is how many mappings of this process lie on reserved pages.
func hugeMappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	must(t, err)
	return strings.Count(string(maps), "/anon_hugepage")
}

// The pages are the host's again after Close, and after an Open that failed late.
// Other programs may take and give some meanwhile: a leak of ours is there each time.
func TestLiveHugePagesAreGivenBack(t *testing.T) {
	reserve(t, roomy)
	w := newWire(t, xsk.HugePages{}, 1500)
	var wrong string
	for range 10 {
		if wrong = w.takeAndGive(t); wrong == "" {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
	t.Error(wrong)
}

// takeAndGive opens and closes a queue, and returns what was wrong with the pages.
func (w *wire) takeAndGive(t *testing.T) string {
	before := free(t)
	// The kernel lets go of a UMEM a moment later (xdp_put_umem in net/xdp/xdp_umem.c).
	back := func() bool { return within(func() bool { return free(t) == before }) && hugeMappings(t) == 0 }
	s := w.open(t, xsk.Options{RingSize: 2048})
	if n := before - free(t); n != 4 || hugeMappings(t) != 1 || xsk.Pages([]*xsk.Socket{s}) != "2 MiB pages" {
		must(t, s.Close())
		return fmt.Sprintf("4096 frames of 2048 bytes took %d pages", n)
	}
	must(t, s.Close())
	if !back() {
		return fmt.Sprintf("after Close %d of %d pages are free, %d mappings are left", free(t), before, hugeMappings(t))
	}
	if _, err := xsk.Open(xsk.Options{Name: "dut", Queue: 7, Opener: xsk.HugePages{}}); !errors.Is(err, unix.EINVAL) {
		t.Errorf("error for a queue that does not exist is %v", err)
	}
	if !back() {
		return fmt.Sprintf("after a failed Open %d of %d pages are free, %d mappings are left", free(t), before, hugeMappings(t))
	}
	return ""
}

// Without a page to be had, one opener refuses and says so, and one takes others.
func TestLiveNoHugePagesLeft(t *testing.T) {
	w := newWire(t, nil, 1500)
	takeAll(t)
	_, err := xsk.Open(xsk.Options{Name: "dut", Opener: xsk.HugePages{}})
	none := (*xsk.NoHugePagesError)(nil)
	if !errors.As(err, &none) || none.Want != 4 || none.Free != 0 ||
		!strings.Contains(err.Error(), "4 pages of 2 MiB are needed for this queue, and 0 of the") {
		t.Errorf("error is %v", err)
	}
	if w.opener, err = xsk.OpenerFor("auto"); err != nil {
		t.Fatal(err)
	}
	s := w.open(t, xsk.Options{RingSize: 2048})
	if got := xsk.Pages([]*xsk.Socket{s}); got != "4 KiB pages" {
		t.Errorf("auto took %s", got)
	}
	transmit(t, s, 0, 1)
}

// A gateway that starts when another has just ended gets the pages of that one, which
// the kernel gives back a moment later. Other programs may have taken them, not often.
func TestLiveHugePagesOfOneThatHasJustEnded(t *testing.T) {
	w := newWire(t, xsk.HugePages{}, 1500)
	takeAll(t)
	reserve(t, 4)
	const rounds, few = 8, 2
	var wrong []string
	for n := range rounds {
		if s, err := xsk.Open(xsk.Options{Name: "dut", Opener: w.opener, RingSize: 2048}); err == nil {
			must(t, s.Close())
		}
		umem := []string{"auto", "hugepages"}[n%2]
		opener, err := xsk.OpenerFor(umem)
		must(t, err)
		s, err := xsk.Open(xsk.Options{Name: "dut", Opener: opener, RingSize: 2048})
		if err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		if got := xsk.Pages([]*xsk.Socket{s}); got != "2 MiB pages" {
			wrong = append(wrong, umem+" took "+got)
		}
		must(t, s.Close())
		time.Sleep(100 * time.Millisecond)
	}
	if len(wrong) > few {
		t.Errorf("%d of %d times: %q", len(wrong), rounds, wrong)
	}
}

// Pages that a cgroup keeps from the process are none to auto, and no broken socket.
func TestLiveHugePagesDenied(t *testing.T) {
	reserve(t, roomy)
	auto, err := xsk.OpenerFor("auto")
	must(t, err)
	w := newWire(t, auto, 1500)
	denyHugePages(t)
	_, err = xsk.Open(xsk.Options{Name: "dut", Opener: xsk.HugePages{}})
	if none := (*xsk.NoHugePagesError)(nil); !errors.As(err, &none) || !none.Denied || hugeMappings(t) != 0 {
		t.Errorf("error is %v, %d mappings are left", err, hugeMappings(t))
	}
	s := w.open(t, xsk.Options{RingSize: 2048})
	if got := xsk.Pages([]*xsk.Socket{s}); got != "4 KiB pages" {
		t.Errorf("auto took %s", got)
	}
	transmit(t, s, 0, 1)
}

// denyHugePages has this process in a cgroup that allows none, until the test ends
// (Documentation/admin-guide/cgroup-v2.rst, "HugeTLB").
func denyHugePages(t *testing.T) {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	must(t, err)
	if !strings.Contains("\n"+string(own), "\n0::/\n") {
		t.Skip("needs to be in the root of cgroup2")
	}
	root := ""
	for _, at := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if list, err := os.ReadFile(at + "/cgroup.controllers"); err == nil && strings.Contains(string(list), "hugetlb") {
			root = at
		}
	}
	if root == "" {
		t.Skip("needs cgroup2 with its hugetlb controller")
	}
	write := func(name, text string) { t.Helper(); must(t, os.WriteFile(root+name, []byte(text), 0)) }
	enabled, err := os.ReadFile(root + "/cgroup.subtree_control")
	must(t, err)
	if !strings.Contains(string(enabled), "hugetlb") {
		write("/cgroup.subtree_control", "+hugetlb")
		t.Cleanup(func() { write("/cgroup.subtree_control", "-hugetlb") })
	}
	group := fmt.Sprintf("/spindle-%d", os.Getpid())
	must(t, os.Mkdir(root+group, 0o755))
	t.Cleanup(func() { must(t, os.Remove(root+group)) })
	write(group+"/hugetlb.2MB.max", "0")
	write(group+"/cgroup.procs", "0")
	t.Cleanup(func() { write("/cgroup.procs", "0") })
}

// takeAll uses up whatever the host has reserved.
func takeAll(t *testing.T) {
	t.Helper()
	for n := free(t); n > 0; n = free(t) {
		all, err := unix.Mmap(-1, 0, n<<21, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE)
		must(t, err)
		t.Cleanup(func() { must(t, unix.Munmap(all)) })
	}
}

// auto takes 2 MiB pages as long as there are some, socket by socket. It is tried
// again if another program took the pages or gave some back.
func TestLiveAutoTakesWhatThereIs(t *testing.T) {
	auto, err := xsk.OpenerFor("auto")
	must(t, err)
	w := newWire(t, auto, 1500)
	for try := 1; ; try++ {
		takeAll(t)
		reserve(t, 4)
		first, second := w.open(t, xsk.Options{RingSize: 2048}), w.open(t, xsk.Options{RingSize: 2048, Queue: 1})
		got := xsk.Pages([]*xsk.Socket{first, second})
		if got == "4 KiB and 2 MiB pages" {
			transmit(t, first, 0, 1)
			transmit(t, second, 1, 1)
			if got := w.receiveAtFar(2); len(got) != 2 {
				t.Errorf("%d of 2 frames arrived", len(got))
			}
			return
		}
		if try == 5 {
			t.Fatalf("two queues with room for one took %s", got)
		}
		must(t, first.Close())
		must(t, second.Close())
		time.Sleep(300 * time.Millisecond)
	}
}

func TestOpenerForRefusesOtherWords(t *testing.T) {
	if _, err := xsk.OpenerFor("1G"); err == nil || err.Error() != `umem "1G": want auto, pages or hugepages` {
		t.Errorf("error is %v", err)
	}
}
