package datapath

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// onHugePages asks the kernel to put a slice on pages of 2 MiB, as far as it covers
// any, and returns it. The entries of many SAs are then not a page of 4 KiB each,
// whose address must be looked up in memory as well. It is a wish: on a host that
// grants none nothing else changes. To be heard it must come before the memory is
// first touched.
func onHugePages[T any](s []T) []T {
	first := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	skip := -first & (hugePage - 1)
	size := uintptr(cap(s)) * unsafe.Sizeof(*new(T))
	if size < skip+hugePage {
		return s
	}
	all := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), size)
	_ = unix.Madvise(all[skip:skip+(size-skip)&^(hugePage-1)], unix.MADV_HUGEPAGE)
	return s
}
