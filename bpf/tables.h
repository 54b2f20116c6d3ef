// SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only)

// What the program decides by. Go writes all of it but the last two.

#pragma once

#include "reason.h"

#define MAX_PORTS      64
#define MAX_QUEUES     64 // per port
#define MAX_SLOTS      (1 << 18)
#define MAX_LOCALS     4096
#define MAX_PREFIXES   16384

#define ROLE_OUTSIDE 1
#define ROLE_INSIDE  2

enum budget_kind {
	BUDGET_IKE,
	BUDGET_UNKNOWN_SPI,
	BUDGETS,
};

// One port, keyed by ifindex.
struct port {
	__u8 mac[ETH_ALEN];
	__u8 index; // row of the socket and counter tables
	__u8 roles;
};

// An address of either family. The family is part of the key, so that the IPv6
// address ::ffff:192.0.2.1 on the wire never stands for 192.0.2.1.
struct address {
	__u32 family; // 4 or 6
	__u8 bytes[16];
};

// The family is matched as the first 32 bits of the prefix: one trie serves both.
struct prefix {
	__u32 bits;
	struct address address;
};

// A token bucket as a virtual schedule: interval is the time one packet pays
// for, depth how far the schedule may run ahead of the clock.
struct budget {
	__u64 interval_ns;
	__u64 depth_ns;
};

struct settings {
	struct budget budgets[BUDGETS];
	__u32 fail_closed;
	__u32 reserved;
};

struct counts {
	__u64 reasons[REASONS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PORTS);
	__type(key, __u32);
	__type(value, struct port);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LOCALS);
	__type(key, struct address);
	__type(value, __u8);
} locals SEC(".maps");

// The SPIs we hold. An SPI of ours names its slot in the SADB (18 bits above an
// 8-bit generation) and a slot holds one SA pair, so an array indexed by slot
// answers "do we hold it?" with one load that the JIT inlines: no hash, no
// collisions, 2 MiB for all 262,144 slots, and an update is one store.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} spis SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PREFIXES);
	__type(key, struct prefix);
	__type(value, __u8);
} prefixes SEC(".maps");

// The near side of the SPD, as prefixes are its far side.
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MAX_PREFIXES);
	__type(key, struct prefix);
	__type(value, __u8);
} homes SEC(".maps");

// Key: port index * MAX_QUEUES + queue.
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_PORTS * MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

// When the next packet of each budget is due, in ns of the monotonic clock.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUDGETS);
	__type(key, __u32);
	__type(value, __u64);
} due SEC(".maps");

// The last row counts frames of interfaces that are no port.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_PORTS + 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");
