// Package prefetch asks memory for what will be needed soon, so that it comes while
// the processor works on something else. It only hints: a program is as right, and
// only slower, without it. It knows no packets and no SAs.
package prefetch

import "unsafe"

// Line is a cache line.
const Line = 64

// Bytes asks for n bytes at p, which may be any address.
func Bytes(p unsafe.Pointer, n uintptr) { lines(p, uintptr(p)&(Line-1)+n) }

// Of asks for the line at the start of what p points to.
func Of[T any](p *T) { lines(unsafe.Pointer(p), 1) }
