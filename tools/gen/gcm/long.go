package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// leastRest is the fewest bytes of lanes that groups leave for the last piece:
// all four lanes of the hash so far need a lane there to be added to.
const leastRest = lanes + 1

// long takes a packet group by group until 5 to 20 blocks are left. Sealing, the
// last group is still to be hashed then.
func (k *kernel) long() {
	k.keepKeys()
	MOVL(U32(0x8888), tmp.As32())
	KMOVD(tmp.As32(), maskCounter)
	LEAQ(Mem{Base: rest, Disp: -leastRest}, groups)
	SHRQ(Imm(8), groups)
	MOVQ(groups, tmp)
	SHLQ(Imm(8), tmp)
	SUBQ(tmp, rest)
	k.firstGroup()
	JMP(LabelRef("next"))
	align(32)
	Label("group")
	k.group()
	Label("next")
	SUBQ(Imm(1), groups)
	JNE(LabelRef("group"))
}

// firstGroup is lanes 0 to 15: no text in the first two, no hash before it.
func (k *kernel) firstGroup() {
	k.counters(4)
	MOVL(U32(16), count.As32())
	rounds := k.middle(state[:4], true)
	if k.open {
		VBROADCASTI64X4(Mem{Base: src}, keyed)
		VPSHUFB(k.constants.behind, keyed, text[0])
		k.groupCiphertext(1, -head)
		stitch(rounds, k.hashGroup())
	} else {
		run(rounds)
	}
	k.last(state[:4], true)
	VEXTRACTI32X4(Imm(1), state[0], x(mask))
	VBROADCASTI64X4(Mem{Base: src}, keyed)
	VPXORQ(keyed, state[0], state[0])
	VEXTRACTI64X4(Imm(1), state[0], Mem{Base: dst})
	if !k.open {
		VPSHUFB(k.constants.behind, state[0], text[0])
	}
	k.groupAdd(1, -head)
	ADDQ(Imm(group-head), src)
	ADDQ(Imm(group-head), dst)
}

// group is 16 blocks of text.
func (k *kernel) group() {
	k.nextCounters(4)
	if k.open {
		k.groupCiphertext(0, 0)
	}
	stitch(k.middle(state[:4], true), k.hashGroup())
	k.last(state[:4], true)
	k.groupAdd(0, 0)
	ADDQ(I32(group), src)
	ADDQ(I32(group), dst)
}

// groupCiphertext reads the registers of a group from number v on.
func (k *kernel) groupCiphertext(v, disp int) {
	for ; v < 4; v++ {
		VMOVDQU64(Mem{Base: src, Disp: lanes*v + disp}, keyed)
		VPSHUFB(k.constants.reverse, keyed, text[v])
	}
}

// groupAdd adds text to the key stream from register v on and writes the sum.
func (k *kernel) groupAdd(v, disp int) {
	for ; v < 4; v++ {
		s := state[v]
		VPXORQ(Mem{Base: src, Disp: lanes*v + disp}, s, s)
		VMOVDQU64(s, Mem{Base: dst, Disp: lanes*v + disp})
		if !k.open {
			VPSHUFB(k.constants.reverse, s, text[v])
		}
	}
}
