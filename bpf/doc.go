// Package bpf holds the XDP program that steers frames of the gateway's ports
// into AF_XDP sockets, and the tables it decides by: local addresses, the SPIs
// we hold, the destination prefixes of the SPD, the sockets. steer.bpf.c says
// in which order it decides; every exit is counted under a Reason.
//
// The package never opens a socket, reads a packet or knows a policy: an
// address here means "may need protection", and the data path has the last word
// (RFC 4301 §5.1). Whoever attaches a port fills the tables first.
//
// # Fail-open, fail-closed, and what a crash means
//
// A frame may only be redirected while a socket serves its port and queue. What
// happens to a frame that may need protection when none does is the fail-closed
// flag's business: passed to the kernel, which may route it in the clear, or
// dropped. ESP and IKE pass to the kernel either way.
//
// By default nothing is pinned. The kernel detaches the program when the process
// dies, so nothing of ours can stop the next start, and so the flag protects only
// while the process lives: at start, and for queues without a worker. From a
// crash until the next start the kernel routes as if Spindle were not installed.
// Who needs fail-closed across a crash names a directory on a bpffs as
// Options.PinDir: the attachment then outlives the process, with the tables as
// they were, and the next Attach replaces program and tables in one step. Close
// removes the attachment in both cases; after a crash with PinDir, unlinking the
// files in it detaches.
package bpf

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package bpf -tags linux -target bpfel -cc clang-19 -cflags "-O2 -g -Wall -Werror -mcpu=v3 -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu" steer steer.bpf.c
