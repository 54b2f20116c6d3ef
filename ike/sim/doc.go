// Package sim is a network of gateways in one process: engines, and for each a
// model of its data path, on a virtual clock. What happens to them is drawn from
// a seed: loss, duplication, reordering and delay, addresses that a NAT changes,
// partitions of one direction, reboots with and without lost state, clocks that
// jump, processes that stand still, operators and timers of both ends acting in
// the same instant. One seed is one history, always the same, and [Run] can
// write it as a ladder.
//
// Whatever happens, some things must hold (invariants.go): between two ends that
// can reach each other traffic flows or is being negotiated for, nothing is sent
// to an SA before it is installed, none comes to be refused by a rekey, no IV and
// no message ID is used twice, and nothing is left behind.
//
// The data path here is not Spindle's: it is the plainest one that keeps the
// contract (DESIGN.md §3), so that it can be trusted to judge. Nothing of a
// gateway imports this package.
package sim
