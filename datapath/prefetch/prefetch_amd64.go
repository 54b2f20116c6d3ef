package prefetch

import "unsafe"

// lines asks for every line from that of p on, for n bytes, at least one.
//
//go:noescape
func lines(p unsafe.Pointer, n uintptr)
