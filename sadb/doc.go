// Package sadb is the language that the control process and the data path
// share: security associations (RFC 4301 §4.4.2), the ordered policy database
// (§4.4.1), SPIs and selectors, and the database that workers read.
//
// One writer publishes immutable snapshots; workers load one per batch and
// announce its epoch, so that keys are wiped only after the last reader left.
// The package knows no cipher, no socket and no clock.
package sadb
