package main_test

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// gatewayPages is what the frames of a gateway with two ports of one queue take:
// 4096 frames of 2048 bytes each.
const gatewayPages = 8

// TestTunnelOnHugePages: R6 asks for 2 MiB pages, R8 takes them because the host has
// some. Both say so; a data path that is killed leaves none behind, and its
// successor has them again.
func TestTunnelOnHugePages(t *testing.T) {
	b := newBed(t, "pages", netlab.Options{})
	reserve(t, 4*gatewayPages) // some for other programs
	before := freePages(t)
	b.spindles(func(r6, _ *testbed.Tunnel) { r6.Gateway = []string{"umem: hugepages"} })
	b.up()
	if n := before - freePages(t); n < 2*gatewayPages {
		t.Errorf("two gateways took %d pages, want %d", n, 2*gatewayPages)
	}
	b.onPages(b.r6, "2 MiB pages")
	b.onPages(b.r8, "2 MiB pages")
	b.carry(4, netlab.BulkOptions{Packets: 2000})

	for _, g := range b.gateways() {
		check(t, g.KillProcess("datapath"))
		b.recovers()
		b.onPages(g, "2 MiB pages")
	}
	check(t, b.r6.Kill())
	check(t, b.r6.Run(t.Context()))
	b.recovers()
	b.onPages(b.r6, "2 MiB pages")

	check(t, b.r8.Kill())
	b.r6.Stop()
	for deadline := time.Now().Add(patience); freePages(t) != before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d pages are free after one gateway stopped and one was killed", freePages(t), before)
		}
	}
	b.nothingLeft(b.R6)
}

// TestNoHugePages: a gateway that must have them refuses to start, in one line that
// says how many; one that may have them does without, and says so.
func TestNoHugePages(t *testing.T) {
	b := newBed(t, "no-pages", netlab.Options{})
	for n := freePages(t); n > 0; n = freePages(t) {
		all, err := unix.Mmap(-1, 0, n<<21, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_HUGETLB|unix.MAP_POPULATE)
		check(t, err)
		t.Cleanup(func() { check(t, unix.Munmap(all)) })
	}
	r6 := testbed.R6(b.Gateways)
	r6.Gateway = []string{"umem: hugepages"}
	_, err := testbed.Start(t.Context(), b.Lab, b.R6, b.exe, r6.YAML())
	if err == nil {
		t.Fatal("starts without the pages that it must have")
	}
	for _, words := range []string{"umem: hugepages: ", "4 pages of 2 MiB are needed for this queue, and 0 of the ", "all ports take 8: set `sysctl vm.nr_hugepages=", "or write umem: auto"} {
		if n := strings.Count(err.Error(), words); n != 1 {
			t.Errorf("%q stands %d times in\n%v", words, n, err)
		}
	}
	b.nothingLeft(b.R6)
	b.spindles(nil)
	b.up()
	b.onPages(b.r6, "4 KiB pages")
}

// onPages wants both ports of a gateway on such pages, in show workers and the log.
func (b *bed) onPages(g *testbed.Gateway, pages string) {
	b.t.Helper()
	workers, err := testbed.Table[api.Worker](b.t.Context(), g, api.Workers)
	check(b.t, err)
	if len(workers) != 1 || len(workers[0].Ports) != 2 {
		b.t.Fatalf("workers of %s: %+v", g.Name, workers)
	}
	for _, port := range workers[0].Ports {
		if !strings.HasSuffix(port, ", "+pages) || !strings.Contains(g.Log(), port) {
			b.t.Errorf("%s has %q, want %s, and to find it in the log", g.Name, port, pages)
		}
	}
}

// reserve has the host set pages of 2 MiB aside until the test ends.
func reserve(t *testing.T, pages int) {
	t.Helper()
	undo, err := netlab.ReserveHugePages(pages)
	check(t, err)
	t.Cleanup(func() { check(t, undo()) })
}

func freePages(t *testing.T) int {
	t.Helper()
	n, err := netlab.FreeHugePages()
	check(t, err)
	return n
}
