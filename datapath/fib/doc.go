// Package fib mirrors the kernel's routes and neighbours into a table that
// workers look up without a system call, a lock or an allocation.
//
// The kernel stays the only authority: a [Mirror] follows the local and the
// main table, the neighbours, the addresses and the links of its network
// namespace by rtnetlink (RFC 3549) and publishes immutable [Table] snapshots.
// What the mirror cannot decide exactly it answers with [Kernel], so that the
// packet takes the slow path and the kernel decides; it never guesses.
//
// Not mirrored: policy rules and every table but local and main (table 220
// belongs to the slow path device), source-specific routes, path-MTU
// exceptions, and next hops of multipath routes beyond the first usable one.
package fib
