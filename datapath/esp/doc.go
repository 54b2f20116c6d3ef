// Package esp protects and unprotects packets: ESP (RFC 4303) in tunnel mode,
// IPv4 and IPv6 inside either, and in transport mode; with AES-GCM (RFC 4106),
// ChaCha20-Poly1305 (RFC 7634), AES-GMAC (RFC 4543), or AES-CBC (RFC 3602),
// AES-CTR (RFC 3686), 3DES, DES or no encryption at all and an HMAC (RFC 4868,
// RFC 2404, RFC 2403); extended sequence numbers, anti-replay (RFC 6479) with a
// histogram of what came late, UDP encapsulation (RFC 3948), traffic flow
// confidentiality padding and dummy packets, and the congestion marks of RFC
// 6040.
//
// An Outbound or Inbound belongs to one worker, which alone may call Seal, Open,
// Moved and Publish; they allocate nothing. Rebind, Remote, SetPathMTU, Learn,
// Usage and Reordering may be called by anyone. The package holds no socket, no
// clock and no table of SAs, and it does not check selectors: that is the
// worker's, who knows them.
//
// What else is the worker's. Outbound, [Outbound.Sealed] is exact about the
// length that a packet takes on. One that is too long for the port or the path is
// cut by packet.Fragment into pieces of [Outbound.InnerMTU], each of which is
// sealed (N2); where the SA says FragmentAfter, or in transport mode, it is sealed
// into scratch memory and that cut by [Outbound.Fragment]; and one that neither is
// allowed is answered with packet.PutTooBig and InnerMTU. packet.ClampMSS spares
// TCP all three. Inbound, [Inbound.Moved] is asked after each Open of an
// encapsulating SA (N5). ICMP errors go through packet.ParseQuote to the
// [Outbound.Learn] of the SA that sent to the quoted address under the quoted SPI;
// [Outbound.SetPathMTU] takes back after some minutes what was learned.
package esp
