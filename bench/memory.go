package bench

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Pages says what packet buffers stand on.
type Pages string

const (
	AnyPages   Pages = "auto" // 2 MiB pages if the host has reserved enough, else 4 KiB
	SmallPages Pages = "4k"
	HugePages  Pages = "2m"
)

// allocate maps n bytes for packet buffers and touches each page.
func allocate(n int, want Pages) ([]byte, Pages, error) {
	const hugePage = 2 << 20
	flags := unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_POPULATE
	if want != SmallPages {
		size := (n + hugePage - 1) &^ (hugePage - 1)
		b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, flags|unix.MAP_HUGETLB)
		if err == nil {
			return b, HugePages, nil
		}
		if want == HugePages {
			return nil, "", fmt.Errorf("map %d bytes on 2 MiB pages: %w (reserve some: sysctl vm.nr_hugepages=64)", size, err)
		}
	}
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, "", fmt.Errorf("map %d bytes: %w", n, err)
	}
	return b, SmallPages, nil
}
