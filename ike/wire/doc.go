// Package wire is the IKE codec: the header, the chain of payloads and every
// payload of IKEv2 as one Go type (RFC 7296 §3, RFC 7383 §2.5 for SKF), and the
// envelope of encrypted messages around a [Protector] that it does not know,
// whole or in fragments. What notifications and configuration attributes carry
// has types of its own (RFC 4478, RFC 4555, RFC 5685, RFC 6290, RFC 7427, RFC 8784).
//
// It holds no key and no policy, and no state but a [Reassembly]'s: what a value
// means is decided above.
// All input is taken to be hostile; an error says which payload and which octet.
// Parsed values alias the bytes they were read from.
//
// Names without a version are IKEv2's. Those of IKEv1 carry V1: ISAKMP and its
// IPsec DOI (RFC 2408, RFC 2407, RFC 2409), NAT traversal (RFC 3947), dead peer
// detection (RFC 3706), mode config and XAUTH (draft-dukes-ike-mode-cfg-02,
// draft-beaulieu-ike-xauth-02).
package wire
