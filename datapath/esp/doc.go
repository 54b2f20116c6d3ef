// Package esp protects and unprotects packets: ESP in tunnel mode (RFC 4303),
// IPv4 and IPv6 inside either, with AES-GCM (RFC 4106) or AES-CBC and HMAC-SHA2
// (RFC 3602, RFC 4868), extended sequence numbers, anti-replay (RFC 6479), UDP
// encapsulation (RFC 3948), and the congestion marks of RFC 6040.
//
// An Outbound or Inbound belongs to one worker, which alone may call Seal, Open
// and Publish; they allocate nothing. Rebind and Usage may be called by anyone.
// The package holds no socket, no clock and no table of SAs, and it does not
// check selectors: that is the worker's, who knows them.
package esp
