package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// reserved is where the kernel takes and says the number of 2 MiB pages
// (Documentation/admin-guide/mm/hugetlbpage.rst).
const reserved = "/proc/sys/vm/nr_hugepages"

// reserveHugePages makes the host keep at least n pages of 2 MiB, and returns what
// puts the setting back as it was.
func reserveHugePages(n int) (restore func() error, err error) {
	before, err := readNumber(reserved)
	if err != nil {
		return nil, err
	}
	restore = func() error { return os.WriteFile(reserved, []byte(strconv.Itoa(before)), 0o644) }
	if before >= n {
		return func() error { return nil }, nil
	}
	if err := os.WriteFile(reserved, []byte(strconv.Itoa(n)), 0o644); err != nil {
		return nil, err
	}
	if got, err := readNumber(reserved); err != nil || got < n {
		_ = restore()
		return nil, fmt.Errorf("the host reserved %d of %d pages of 2 MiB (memory is fragmented, or not to be had): %v", got, n, err)
	}
	return restore, nil
}

func readNumber(path string) (int, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(raw)))
}
