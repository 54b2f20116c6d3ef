package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// step writes a few instructions that belong together.
type step func()

// stitch writes a and b so that both advance at the same pace. The processor
// looks only a few hundred instructions ahead; this puts work for both of its
// vector ports within that distance.
func stitch(a, b []step) {
	if len(a) < len(b) {
		a, b = b, a
	}
	done := 0
	for i, s := range a {
		s()
		for ; done*len(a) < (i+1)*len(b); done++ {
			b[done]()
		}
	}
}

func run(steps []step) { stitch(steps, nil) }

// key returns round key r in each lane. Long packets keep ten in registers.
func (k *kernel) key(r int, kept bool) VecPhysical {
	if kept && r >= 1 && r <= len(keep) {
		return keep[r-1]
	}
	VBROADCASTI32X4(Mem{Base: ctx, Disp: block * r}, keyed)
	return keyed
}

func (k *kernel) keepKeys() {
	for i, z := range keep {
		VBROADCASTI32X4(Mem{Base: ctx, Disp: block * (i + 1)}, z)
	}
}

// nonce makes first from salt and IV (RFC 4106 §4: the nonce is salt | IV) and
// round key 0, which is added to each counter before the first round.
func (k *kernel) nonce() {
	BSWAPQ(tag) // the IV arrived there
	MOVL(Mem{Base: ctx, Disp: atSalt}, tmp.As32())
	MOVQ(tag, tmp2)
	SHLQ(Imm(32), tmp2)
	ORQ(tmp2, tmp)
	SHRQ(Imm(32), tag)
	VPBROADCASTQ(tmp, first)
	VPBROADCASTQ(tag, keyed)
	VPUNPCKLQDQ(keyed, first, first)
	VBROADCASTI32X4(Mem{Base: ctx}, keyed)
	VPXORQ(keyed, first, first)
}

// counters fills n states for a piece that starts with lane 0.
func (k *kernel) counters(n int) {
	for v := range n {
		VPXORQ(k.constants.counters[v], first, state[v])
	}
}

// nextCounters fills n states for the piece that starts with lane count, a
// multiple of 16: within a group, adding the number of a lane is setting bits.
func (k *kernel) nextCounters(n int) {
	for v := range n {
		if v%4 == 0 {
			MOVL(count.As32(), tmp.As32())
			BSWAPL(tmp.As32())
			VPBROADCASTD_Z(tmp.As32(), maskCounter, keyed)
			ADDL(Imm(16), count.As32())
		}
		VMOVDQU64(k.constants.counters[v%4], state[v])
		VPTERNLOGD(xor3, first, keyed, state[v])
	}
}

// middle is all rounds of some states but the last.
func (k *kernel) middle(states []VecPhysical, kept bool) []step {
	var steps []step
	for r := 1; r < k.rounds; r++ {
		var z VecPhysical
		steps = append(steps, func() { z = k.key(r, kept) })
		for _, s := range states {
			steps = append(steps, func() { VAESENC(z, s, s) })
		}
	}
	return steps
}

// last finishes states: they hold key stream.
func (k *kernel) last(states []VecPhysical, kept bool) {
	z := k.key(k.rounds, kept)
	for _, s := range states {
		VAESENCLAST(z, s, s)
	}
}
