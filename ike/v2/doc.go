// Package v2 is the IKEv2 machine (RFC 7296): one SA value for each IKE SA, one
// exchange per file, the roles of initiator and responder as parameters. It
// holds the message ids and the window of one request (§2.3), the keys, and the
// child SAs with their rekeys and lifetimes.
//
// It never reads a clock or a socket, never acts on a message that fails its
// integrity check, and never lets a key into an Audit. What a peer does wrong
// becomes an Audit output; a Go error is a fault of ours.
package v2
