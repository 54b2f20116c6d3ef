package netlab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the kernel takes and says the number of 2 MiB pages that the host sets
// aside, and says how many of them nobody uses
// (Documentation/admin-guide/mm/hugetlbpage.rst).
const (
	reservedPages = "/proc/sys/vm/nr_hugepages"
	freePages     = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
)

// ReserveHugePages makes the host set aside n more pages of 2 MiB, whatever others
// have reserved, and returns what undoes just that.
func ReserveHugePages(n int) (undo func() error, err error) {
	if err := changeReserved(n); err != nil {
		return nil, fmt.Errorf("reserve %d pages of 2 MiB: %w", n, err)
	}
	return func() error { return changeReserved(-n) }, nil
}

// FreeHugePages is how many pages of 2 MiB the host has reserved and not given out.
func FreeHugePages() (int, error) {
	text, err := os.ReadFile(freePages)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// changeReserved adds to the number of reserved pages. Programs of ours that do so
// at the same time wait for each other.
func changeReserved(by int) error {
	f, err := os.OpenFile(reservedPages, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", reservedPages, err)
	}
	before, err := readReserved(f)
	if err != nil {
		return err
	}
	want := max(0, before+by)
	if err := writeReserved(f, want); err != nil {
		return err
	}
	if now, err := readReserved(f); err != nil || now < want {
		return errors.Join(fmt.Errorf("the host has %d and not %d: its memory is in use, or in pieces", now, want), err, writeReserved(f, before))
	}
	return nil
}

func readReserved(f *os.File) (int, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func writeReserved(f *os.File, n int) error {
	_, err := f.WriteAt([]byte(strconv.Itoa(n)), 0)
	return err
}
