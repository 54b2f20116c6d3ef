//go:build ignore

// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)

// steer decides, for each frame that a port receives, who handles it: an AF_XDP
// socket of the data path, the kernel, or nobody. It classifies only. An AF_XDP
// socket accepts frames of its own device and queue and of no other
// (net/xdp/xsk.c, xsk_rcv_check), so work cannot move between cores here, and
// the authoritative SPD match (ports, source, order) is the data path's.
//
// Steps, in the order of the code:
//   1. Ethernet: our MAC, at most two VLAN tags.
//   2. IPv4 or IPv6 header: destination, hop limit, where the payload begins.
//   3. Destination is a local address: fragments, ESP, IKE, ESP in UDP.
//   4. Otherwise, on inside ports: the destination prefixes of the SPD.
//   5. On outside ports, whatever else the kernel would be given unprotected from
//      a far to a near prefix of the SPD.
//   6. Token buckets for IKE and unknown SPIs.
//   7. The socket of this port and queue, or what is done without one.
//   8. The reason counter. The reason alone decides the XDP action.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "reason.h"
#include "tables.h"

#define MAX_VLAN_TAGS  2
#define MAX_EXTENSIONS 4      // IPv6 extension headers before ESP or UDP
#define MAX_OFFSET     0x3fff // of any header; more than the two limits above allow

#define PORT_IKE  500
#define PORT_NATT 4500 // RFC 3948

// ICMPv6 types of RFC 4861, and what lies between them.
#define ROUTER_SOLICITATION 133
#define REDIRECT            137

// The frame being classified. Offsets count from the first byte.
struct frame {
	void *data;
	void *data_end;
	__u32 off; // the header to read next
	__u32 end; // where the datagram ends: padding behind it is not read
	bool group; // for a broadcast or multicast MAC
};

struct datagram {
	struct address src, dst;
	__u8 protocol; // of the header at frame.off
	__u8 hops;
	bool fragment;
	bool later; // a fragment without the first byte
	bool needed; // by the kernel, unprotected as it is
};

struct vlan_tag {
	__be16 tci;
	__be16 type;
};

struct extension {
	__u8 next;
	__u8 length; // in 8-byte units, not counting the first
	__u8 routing_type;
	__u8 segments_left;
	__u8 rest[4];
};

// at returns n readable bytes at the current offset, or NULL. The test against
// data_end is repeated at each call: the verifier forgets it at every variable step.
static __always_inline void *at(const struct frame *f, __u32 n)
{
	__u32 off = f->off;

	if (off > MAX_OFFSET || off + n > f->end)
		return NULL;
	void *p = f->data + off;
	if (p + n > f->data_end)
		return NULL;
	return p;
}

// shorten moves the end of what may be read to off+length, never further out.
static __always_inline void shorten(struct frame *f, __u32 length)
{
	if (f->off + length < f->end)
		f->end = f->off + length;
}

static __always_inline bool is_vlan(__be16 type)
{
	return type == bpf_htons(ETH_P_8021Q) || type == bpf_htons(ETH_P_8021AD);
}

// read_ethernet refuses a third tag: the kernel takes off any number of tags that
// name no VLAN (net/core/dev.c, __netif_receive_skb_core), so what hides behind
// them would get past the SPD.
static __always_inline enum reason read_ethernet(struct frame *f, const struct port *port, __be16 *type)
{
	struct ethhdr *eth = at(f, sizeof(*eth));
	if (!eth)
		return REASON_PASS_TRUNCATED;
	f->group = eth->h_dest[0] & 1;
	if (!f->group && __builtin_memcmp(eth->h_dest, port->mac, ETH_ALEN))
		return REASON_PASS_OTHER_MAC;
	*type = eth->h_proto;
	f->off += sizeof(*eth);

#pragma unroll
	for (int i = 0; i < MAX_VLAN_TAGS && is_vlan(*type); i++) {
		struct vlan_tag *tag = at(f, sizeof(*tag));
		if (!tag)
			return REASON_PASS_TRUNCATED;
		*type = tag->type;
		f->off += sizeof(*tag);
	}
	return is_vlan(*type) ? REASON_DROP_VLAN_DEPTH : REASON_UNDECIDED;
}

// IPv4 options are stepped over, not refused: a packet that must be protected
// may not slip past into the kernel's routing because it carries one.
static __always_inline enum reason read_ipv4(struct frame *f, struct datagram *d)
{
	struct iphdr *ip = at(f, sizeof(*ip));
	if (!ip)
		return REASON_PASS_TRUNCATED;
	__u32 header = ip->ihl * 4, length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || header < sizeof(*ip) || length < header)
		return REASON_PASS_MALFORMED;

	d->src.family = d->dst.family = 4;
	__builtin_memcpy(d->src.bytes, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(d->dst.bytes, &ip->daddr, sizeof(ip->daddr));
	d->protocol = ip->protocol;
	d->hops = ip->ttl;
	d->fragment = ip->frag_off & bpf_htons(0x3fff); // MF and offset
	d->later = ip->frag_off & bpf_htons(0x1fff);
	shorten(f, length);
	f->off += header;
	return REASON_UNDECIDED;
}

static __always_inline enum reason read_ipv6(struct frame *f, struct datagram *d)
{
	struct ipv6hdr *ip = at(f, sizeof(*ip));
	if (!ip)
		return REASON_PASS_TRUNCATED;
	if (ip->version != 6)
		return REASON_PASS_MALFORMED;

	d->src.family = d->dst.family = 6;
	__builtin_memcpy(d->src.bytes, &ip->saddr, sizeof(ip->saddr));
	__builtin_memcpy(d->dst.bytes, &ip->daddr, sizeof(ip->daddr));
	d->protocol = ip->nexthdr;
	d->hops = ip->hop_limit;
	shorten(f, sizeof(*ip) + bpf_ntohs(ip->payload_len));
	f->off += sizeof(*ip);
	return REASON_UNDECIDED;
}

static __always_inline bool is_extension(__u8 protocol)
{
	return protocol == IPPROTO_HOPOPTS || protocol == IPPROTO_ROUTING || protocol == IPPROTO_DSTOPTS;
}

// skip_extensions steps to the upper layer or a fragment header (RFC 8200 §4). A
// routing header with segments left goes to the kernel: we are not its end.
static __always_inline enum reason skip_extensions(struct frame *f, struct datagram *d)
{
#pragma unroll
	for (int i = 0; i < MAX_EXTENSIONS && is_extension(d->protocol); i++) {
		struct extension *ext = at(f, sizeof(*ext));
		if (!ext)
			return REASON_PASS_TRUNCATED;
		if (d->protocol == IPPROTO_ROUTING && ext->segments_left)
			return REASON_PASS_EXTENSION;
		d->protocol = ext->next;
		f->off += 8 + ext->length * 8;
	}
	return is_extension(d->protocol) ? REASON_PASS_EXTENSION : REASON_UNDECIDED;
}

// read_extensions takes any fragment header for a fragment, an atomic one (RFC
// 6946) too: the sockets then need not know it.
static __always_inline enum reason read_extensions(struct frame *f, struct datagram *d)
{
	enum reason reason = skip_extensions(f, d);
	if (reason || d->protocol != IPPROTO_FRAGMENT)
		return reason;
	struct extension *ext = at(f, sizeof(*ext));
	if (!ext)
		return REASON_PASS_TRUNCATED;
	__be16 offset;
	__builtin_memcpy(&offset, &ext->routing_type, sizeof(offset));
	d->fragment = true;
	d->later = offset & bpf_htons(0xfff8);
	d->protocol = ext->next;
	f->off += sizeof(*ext);
	return REASON_UNDECIDED;
}

// 0 marks an empty slot, and no SPI of ours: 0..255 are reserved (RFC 4303 §2.1).
static __always_inline bool holds_spi(__u32 spi)
{
	__u32 slot = (spi >> 8) & (MAX_SLOTS - 1);
	__u32 *held = bpf_map_lookup_elem(&spis, &slot);

	return held && spi && *held == spi;
}

static __always_inline enum reason read_esp(const struct frame *f)
{
	__be32 *spi = at(f, sizeof(*spi));
	if (!spi)
		return REASON_PASS_TRUNCATED;
	return holds_spi(bpf_ntohl(*spi)) ? REASON_REDIRECT_ESP : REASON_REDIRECT_UNKNOWN_SPI;
}

// UDP port 4500 carries three things (RFC 3948 §2): one byte 0xFF is a
// keepalive, four zero bytes mark IKE, anything else begins with an SPI.
static __always_inline enum reason read_natt(struct frame *f, __u32 length)
{
	__u8 *first = at(f, sizeof(*first));
	if (!first)
		return REASON_PASS_TRUNCATED;
	if (length == 1 && *first == 0xff)
		return REASON_DROP_KEEPALIVE;
	__be32 *marker = at(f, sizeof(*marker));
	if (!marker)
		return REASON_PASS_TRUNCATED;
	return *marker ? read_esp(f) : REASON_REDIRECT_IKE;
}

static __always_inline enum reason read_udp(struct frame *f)
{
	struct udphdr *udp = at(f, sizeof(*udp));
	if (!udp)
		return REASON_PASS_TRUNCATED;
	__u32 length = bpf_ntohs(udp->len);
	if (udp->dest == bpf_htons(PORT_IKE))
		return REASON_REDIRECT_IKE;
	if (udp->dest != bpf_htons(PORT_NATT))
		return REASON_PASS_LOCAL;
	if (length < sizeof(*udp))
		return REASON_PASS_MALFORMED;

	shorten(f, length);
	f->off += sizeof(*udp);
	return read_natt(f, length - sizeof(*udp));
}

// is_outer_fragment tells ESP and IKE, which the kernel reassembles for the slow
// path. What a whole packet is follows from its first fragment: fragments that
// overlap lose all of it (RFC 5722 §3, net/ipv4/inet_fragment.c). So a later one is
// harmless, whatever it says, when nothing but ESP and IKE can be first; IPv4
// reassembles each protocol by itself (RFC 791 §3.2), IPv6 all of them together.
static __always_inline bool is_outer_fragment(struct frame *f, struct datagram *d)
{
	if (d->later)
		return d->dst.family == 6 || d->protocol == IPPROTO_ESP || d->protocol == IPPROTO_UDP;
	if (d->dst.family == 6 && skip_extensions(f, d))
		return false;
	if (d->protocol != IPPROTO_UDP)
		return d->protocol == IPPROTO_ESP;
	struct udphdr *udp = at(f, sizeof(*udp));
	return udp && (udp->dest == bpf_htons(PORT_IKE) || udp->dest == bpf_htons(PORT_NATT));
}

// is_discovery tells what the link itself needs, also between two hosts that want
// everything between them protected: ESP could not be sent without. The hop limit
// shows that no router has passed it on (RFC 4861 §11.2).
static __always_inline bool is_discovery(const struct frame *f, const struct datagram *d)
{
	if (d->dst.family != 6 || d->protocol != IPPROTO_ICMPV6 || d->hops != 255)
		return false;
	__u8 *type = at(f, sizeof(*type));
	return type && *type >= ROUTER_SOLICITATION && *type <= REDIRECT;
}

static __always_inline enum reason classify_local(struct frame *f, struct datagram *d)
{
	if (d->dst.family == 6) {
		enum reason reason = read_extensions(f, d);
		if (reason)
			return reason;
	}
	if (d->fragment) {
		d->needed = is_outer_fragment(f, d);
		return REASON_PASS_FRAGMENT;
	}
	if (d->protocol == IPPROTO_ESP)
		return read_esp(f);
	if (d->protocol == IPPROTO_UDP)
		return read_udp(f);
	d->needed = is_discovery(f, d);
	return REASON_PASS_LOCAL;
}

// What a router never forwards: multicast (not forwarded here), the limited
// broadcast, and IPv6 link-local (RFC 4291 §2.5.6), even under a policy for ::/0.
static __always_inline bool is_link_scope(const struct address *a)
{
	if (a->family == 4)
		return (a->bytes[0] & 0xf0) == 0xe0 ||
		       (a->bytes[0] & a->bytes[1] & a->bytes[2] & a->bytes[3]) == 0xff;
	return a->bytes[0] == 0xff || (a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80);
}

static __always_inline bool within(void *trie, const struct address *a)
{
	struct prefix key = {.bits = 32 + (a->family == 4 ? 32 : 128), .address = *a};

	return bpf_map_lookup_elem(trie, &key);
}

// classify_transit reads nothing behind the IP header, so no option, extension
// header or fragment lets a packet escape the policy of its destination.
static __always_inline enum reason classify_transit(const struct datagram *d, const struct port *port)
{
	if (!(port->roles & ROLE_INSIDE))
		return REASON_PASS_NOT_INSIDE;
	if (is_link_scope(&d->dst))
		return REASON_PASS_LINK_SCOPE;
	if (d->hops <= 1)
		return REASON_PASS_TTL;

	return within(&prefixes, &d->dst) ? REASON_REDIRECT_PROTECTED : REASON_PASS_NO_PREFIX;
}

static __always_inline bool is_redirect(enum reason reason)
{
	return reason >= REASON_REDIRECT_ESP && reason <= REASON_REDIRECT_CLEAR;
}

static __always_inline bool is_pass(enum reason reason)
{
	return reason < REASON_REDIRECT_ESP;
}

// is_exposed tells what the kernel would take or forward as it came, though a
// policy may want such traffic protected (RFC 4301 §5.2): any packet whose
// addresses could be read, readable otherwise or not. What lies between the two
// sides of different policies is included: the data path decides.
static __always_inline bool is_exposed(enum reason reason, const struct datagram *d, const struct port *port)
{
	if (!is_pass(reason) || d->needed || !d->dst.family || !(port->roles & ROLE_OUTSIDE))
		return false;
	return !is_link_scope(&d->dst) && within(&homes, &d->dst) && within(&prefixes, &d->src);
}

static __always_inline enum reason classify_ip(struct frame *f, const struct port *port, __be16 type)
{
	struct datagram d = {};
	enum reason reason = REASON_PASS_NOT_IP;

	if (type == bpf_htons(ETH_P_IP))
		reason = read_ipv4(f, &d);
	else if (type == bpf_htons(ETH_P_IPV6))
		reason = read_ipv6(f, &d);
	if (reason)
		return reason;

	if (bpf_map_lookup_elem(&locals, &d.dst))
		reason = classify_local(f, &d);
	else
		reason = classify_transit(&d, port);
	return is_exposed(reason, &d, port) ? REASON_REDIRECT_CLEAR : reason;
}

// classify leaves frames to many hosts to the kernel, and ESP and IKE in them as
// well. It keeps back only what the kernel would take for its unicast IP address.
static __always_inline enum reason classify(struct frame *f, const struct port *port)
{
	__be16 type = 0;

	enum reason reason = read_ethernet(f, port, &type);
	if (reason)
		return reason;
	reason = classify_ip(f, port, type);
	return f->group && reason != REASON_REDIRECT_CLEAR ? REASON_PASS_OTHER_MAC : reason;
}

// afford takes one token. The state is this CPU's own and XDP runs in its
// softirq, so nothing interrupts between load and store.
static __always_inline bool afford(__u32 kind)
{
	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	__u64 *next = bpf_map_lookup_elem(&due, &kind);
	if (!s || !next || kind >= BUDGETS)
		return false;

	__u64 now = bpf_ktime_get_ns();
	__u64 when = *next > now ? *next : now;
	if (when - now > s->budgets[kind].depth_ns)
		return false;
	*next = when + s->budgets[kind].interval_ns;
	return true;
}

static __always_inline enum reason limit(enum reason reason)
{
	if (reason == REASON_REDIRECT_IKE)
		return afford(BUDGET_IKE) ? reason : REASON_DROP_IKE_BUDGET;
	if (reason == REASON_REDIRECT_UNKNOWN_SPI)
		return afford(BUDGET_UNKNOWN_SPI) ? reason : REASON_DROP_UNKNOWN_SPI_BUDGET;
	return reason;
}

static __always_inline enum reason without_socket(enum reason reason)
{
	if (reason == REASON_REDIRECT_IKE)
		return REASON_PASS_IKE_NO_SOCKET;
	if (reason != REASON_REDIRECT_PROTECTED && reason != REASON_REDIRECT_CLEAR)
		return REASON_PASS_ESP_NO_SOCKET;

	__u32 zero = 0;
	struct settings *s = bpf_map_lookup_elem(&settings, &zero);
	return !s || s->fail_closed ? REASON_DROP_FAIL_CLOSED : REASON_PASS_PROTECTED_NO_SOCKET;
}

// deliver finds the socket. The kernel forgets a socket when its owner closes
// it or dies (net/xdp/xskmap.c), so a missing one is seen here at once.
static __always_inline enum reason deliver(struct xdp_md *ctx, const struct port *port, enum reason reason)
{
	__u32 queue = ctx->rx_queue_index;

	if (queue < MAX_QUEUES &&
	    bpf_redirect_map(&xsks, port->index * MAX_QUEUES + queue, XDP_PASS) == XDP_REDIRECT)
		return reason;
	return without_socket(reason);
}

static __always_inline int finish(__u32 row, enum reason reason)
{
	struct counts *c = bpf_map_lookup_elem(&counters, &row);

	if (c && reason < REASONS)
		c->reasons[reason]++;
	if (is_redirect(reason))
		return XDP_REDIRECT;
	return reason >= REASON_DROP_KEEPALIVE ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	struct frame f = {
		.data = (void *)(long)ctx->data,
		.data_end = (void *)(long)ctx->data_end,
		.end = ctx->data_end - ctx->data,
	};
	__u32 ifindex = ctx->ingress_ifindex;

	struct port *port = bpf_map_lookup_elem(&ports, &ifindex);
	if (!port)
		return finish(MAX_PORTS, REASON_PASS_NO_PORT);
	enum reason reason = limit(classify(&f, port));
	if (is_redirect(reason))
		reason = deliver(ctx, port, reason);
	return finish(port->index, reason);
}

char _license[] SEC("license") = "Dual BSD/GPL";
