// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)

#pragma once

// Why a frame went where it went: one counter each, named alike in reason.go.
// The groups matter: the XDP action follows from the group alone.
enum reason {
	REASON_UNDECIDED, // classification goes on; never counted

	REASON_PASS_NO_PORT,             // interface without a port configuration
	REASON_PASS_OTHER_MAC,           // not our MAC: broadcast, multicast, promiscuous
	REASON_PASS_TRUNCATED,           // shorter than the headers that must be read
	REASON_PASS_NOT_IP,              // ARP and other protocols
	REASON_PASS_MALFORMED,           // version or header length that cannot be
	REASON_PASS_FRAGMENT,            // outer fragment, the kernel reassembles
	REASON_PASS_EXTENSION,           // too many IPv6 extension headers, or source routed
	REASON_PASS_LOCAL,               // for this host, neither ESP nor IKE
	REASON_PASS_NOT_INSIDE,          // in transit, on a port without the inside role
	REASON_PASS_LINK_SCOPE,          // multicast, broadcast, IPv6 link-local
	REASON_PASS_TTL,                 // the kernel answers with ICMP
	REASON_PASS_NO_PREFIX,           // no policy may protect this destination
	REASON_PASS_ESP_NO_SOCKET,       // ESP, but no socket serves this queue
	REASON_PASS_IKE_NO_SOCKET,       // IKE, but no socket serves this queue
	REASON_PASS_PROTECTED_NO_SOCKET, // may need protection, no socket, fail-open

	REASON_REDIRECT_ESP,
	REASON_REDIRECT_UNKNOWN_SPI,
	REASON_REDIRECT_IKE,
	REASON_REDIRECT_PROTECTED,
	REASON_REDIRECT_CLEAR, // unprotected between networks that a policy may protect

	REASON_DROP_KEEPALIVE,          // RFC 3948 §2.3
	REASON_DROP_VLAN_DEPTH,         // more than two VLAN tags
	REASON_DROP_UNKNOWN_SPI_BUDGET, // more unknown SPIs than the bucket holds
	REASON_DROP_IKE_BUDGET,         // more IKE than the bucket holds
	REASON_DROP_FAIL_CLOSED,        // may need protection, no socket, fail-closed

	REASONS,
};
