// Package tun is the slow-path device: what the data path cannot forward by
// itself is written into it and enters the kernel, and this host's own traffic
// for a protected prefix is read from it.
//
// The device does not persist: it disappears with the process, and its routes
// with it. Routes stand in a table of their own ([Table]) that one rule per
// family ([Priority]) consults before the main table, except for packets that
// carry [Mark]. Whoever sends IKE or ESP from a kernel socket sets that mark,
// or a protected prefix that covers the peer's address would swallow the
// tunnel's own packets.
//
// The package knows nothing of SAs or policies, and starts no goroutine.
package tun
