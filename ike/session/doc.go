// Package session holds what the IKEv1 and IKEv2 machines share: the inputs and
// outputs of the engine, the configuration it obeys, the retransmission
// schedule (RFC 7296 §2.1, §2.4), the SPD entries that child SAs serve
// (RFC 4301 §4.4.1) and the status that an operator reads.
//
// It never looks at a clock, a socket or global randomness: time comes in with
// each step and random bytes from a reader.
package session
