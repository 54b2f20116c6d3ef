// Package v1 is the IKEv1 machine: one SA value for each ISAKMP SA, one
// exchange per file, the roles of initiator and responder as parameters (RFC
// 2407, RFC 2408, RFC 2409; RFC 3706 for dead peer detection, RFC 3947 for NATs,
// draft-dukes-ike-mode-cfg-02 and draft-beaulieu-ike-xauth-02 for users).
//
// Phase 1 and phase 2 live apart here: a child SA outlives the ISAKMP SA that
// made it, and the next one with the same peer takes it over.
//
// It never reads a clock or a socket, never acts on a message whose hash does
// not hold, and never lets a key into an Audit. What a peer does wrong becomes
// an Audit output; a Go error is a fault of ours.
package v1
