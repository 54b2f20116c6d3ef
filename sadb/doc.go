// Package sadb is the language that the control process and the data path
// share: security associations (RFC 4301 §4.4.2), the ordered policy database
// (§4.4.1), SPIs and selectors, and the database that workers read.
//
// One writer publishes immutable snapshots; workers load one per batch and
// announce its epoch, so that keys are wiped only after the last reader left.
// The package knows no cipher, no socket and no clock.
//
// Per-resource child SAs (RFC 9611) would need three additions: an Entry with
// one outbound SA per worker besides the shared one, from which a worker takes
// its own first as the fallback SA; Acquire naming the worker that wants
// an SA, so that [Allocator.Allocate] places the pair there; and in [SA] the
// resource label that SA_RESOURCE_INFO carries. SPIs, slots and inbound
// lookup stay as they are, for they already name their owner.
package sadb
