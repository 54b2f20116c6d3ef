// Package packet reads and writes the headers that the data path meets:
// Ethernet with VLAN tags, IPv4 (RFC 791), IPv6 (RFC 8200) with its extension
// headers, the ports behind them, and the few packets a gateway makes itself:
// ICMP errors (RFC 792, RFC 4443), fragments, and UDP for the slow path. It finds
// where ESP goes in transport mode, clamps the MSS of TCP, and reads the ICMP
// errors that quote ESP.
//
// Every length is checked before it is believed, nothing allocates, and nothing
// is remembered from one packet to the next. The package knows no SA, no route
// and no port of this host.
package packet
