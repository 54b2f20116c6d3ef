package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// piece is straight code for n registers at the end of a packet, of which the
// last is filled in part. A short one is a whole packet: its text starts in lane
// 2, and src and dst point there; else src and dst point to lane 0.
type piece struct {
	*kernel
	n     int
	short bool
}

// emit goes through a piece in this order:
//
//  1. Which bytes of the last register are text, and which powers the lanes get.
//  2. Counters and the length block.
//  3. Opening: the ciphertext, and its hash between the AES rounds.
//  4. Sealing: the hash of the group before between the AES rounds.
//  5. Text plus key stream; sealing: then its hash.
func (p *piece) emit() {
	// 1
	p.masks()
	// 2
	if p.short {
		lengths(after)
		VPXORQ(after, sumHi, sumHi)
		p.counters(p.n)
	} else {
		lengths(after)
		p.nextCounters(p.n)
	}
	// 3
	rounds := p.middle(p.n, !p.short)
	switch {
	case p.open:
		p.ciphertext()
		p.powers()
		stitch(rounds, p.hashRest(p.n, p.short))
	// 4
	case p.short:
		run(rounds)
	default:
		stitch(rounds, p.hashGroup())
	}
	// 5
	p.last(p.n, !p.short)
	if p.short {
		VEXTRACTI32X4(Imm(1), state[0], x(mask))
	}
	for v := range p.n {
		p.add(v)
	}
	if !p.open {
		p.powers()
		run(p.hashRest(p.n, p.short))
	}
}

func (p *piece) masks() {
	MOVQ(I32(-1), tmp)
	LEAQ(Mem{Base: rest, Disp: -lanes * (p.n - 1)}, tmp2)
	BZHIQ(tmp2, tmp, tmp)
	if p.n == 1 {
		SHRQ(Imm(head), tmp)
		SHLQ(Imm(head), tmp)
	}
	KMOVQ(tmp, maskTail)
}

// powers points tmp2 at the power of lane 0: the last block meets H^2, the one
// before H^3, and H^1 is for the length block.
func (p *piece) powers() {
	LEAQ(Mem{Base: rest, Disp: block - 1}, tmp)
	ANDQ(I32(-block), tmp)
	LEAQ(Mem{Base: ctx, Disp: atPower(1)}, tmp2)
	SUBQ(tmp, tmp2)
}

// at is where register v of the piece is in memory.
func (p *piece) at(base GPPhysical, v int) Mem {
	m := Mem{Base: base, Disp: lanes * v}
	if p.short {
		m.Disp -= head
	}
	return m
}

// load brings what is text of register v: zero elsewhere, but in the first
// register of a short packet, where lanes 0 and 1 become copies of 2 and 3.
func (p *piece) load(v int, to VecPhysical) {
	switch {
	case v == p.n-1:
		VMOVDQU8_Z(p.at(src, v), maskTail, to)
	case v == 0 && p.short:
		VBROADCASTI64X4(Mem{Base: src}, to)
	default:
		VMOVDQU64(p.at(src, v), to)
	}
}

// reverseText turns z into what the hash reads.
func (p *piece) reverseText(v int, z VecPhysical) {
	shuffle := p.constants.reverse
	if v == 0 && p.short {
		shuffle = p.constants.behind
	}
	VPSHUFB(shuffle, z, text[v])
}

// ciphertext reads all of it before any plaintext is written.
func (p *piece) ciphertext() {
	for v := range p.n {
		p.load(v, text[v])
		p.reverseText(v, text[v])
	}
}

// add adds text to the key stream of register v and writes the sum.
func (p *piece) add(v int) {
	s := state[v]
	p.load(v, keyed)
	VPXORQ(keyed, s, s)
	switch {
	case v == p.n-1:
		VMOVDQU8(s, maskTail, p.at(dst, v))
	case v == 0 && p.short:
		VEXTRACTI64X4(Imm(1), s, Mem{Base: dst})
	default:
		VMOVDQU64(s, p.at(dst, v))
	}
	if p.open {
		return
	}
	if v == p.n-1 {
		VMOVDQU8_Z(s, maskTail, s)
	}
	p.reverseText(v, s)
}
