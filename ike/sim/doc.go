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
// The histories are of both versions of IKE; the seed draws which. IKEv1 is held to
// the same, but for what it has no means for:
//   - The two ends may come to agree a lifetime later. Nothing answers a Delete (RFC
//     2409 §5.7): where one got lost, the peer keeps the half of a pair that it
//     receives with until that expires. It never sends on it.
//   - A phase 1 that the reboot of the peer cuts off lasts as long as it is repeated,
//     not a detection: who does not know a cookie can say so only without proof.
//   - Message IDs are drawn at random, one for each exchange (RFC 2409 §5.5). None may
//     stand for two exchanges, and an exchange has so many messages as it is to have;
//     that they count up, as in IKEv2, cannot be asked.
//   - A flood may make a gateway hold more: main mode costs it no key exchange before
//     the address is proven.
//
// What has no answer is also treated with mercy by the network: of two like messages in
// a row, chance takes one at most.
//
// The data path here is not Spindle's: it is the plainest one that keeps the
// contract (DESIGN.md §3), so that it can be trusted to judge. Nothing of a
// gateway imports this package.
package sim
