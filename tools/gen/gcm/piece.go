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
//  1. Which bytes of the last register are text.
//  2. The length block: in lane 0 of a whole packet, else by itself.
//  3. The counters.
//  4. Text and hash, in the order that the direction asks for.
func (p *piece) emit() {
	// 1
	p.masks()
	// 2, 3
	lengths(after)
	if p.short {
		VPXORQ(after, sumHi, sumHi)
		p.counters(p.n)
	} else {
		p.nextCounters(p.n)
	}
	// 4
	p.powers()
	if p.open {
		p.unseal()
	} else {
		p.seal()
	}
}

// unseal has all ciphertext at once, and hashes it between the AES rounds.
func (p *piece) unseal() {
	p.ciphertext()
	p.encrypt(0, p.n, p.hashRest(p.n, p.short))
}

// seal hashes the group before, if there is one, between the AES rounds of the
// first half of the registers, and what those became between the rounds of the
// others. Up to three registers are too few to be halved: measured.
func (p *piece) seal() {
	half := p.n
	if p.n > 3 {
		half = (p.n + 1) / 2
	}
	var before []step
	if !p.short {
		before = p.hashGroup()
	}
	p.encrypt(0, half, before)
	own := p.hashRest(p.n, p.short)
	if half < p.n {
		ready := hashSteps(half)
		p.encrypt(half, p.n, own[:ready])
		own = own[ready:]
	}
	run(own)
}

// encrypt finishes registers from to to, with other work between the rounds.
func (p *piece) encrypt(from, to int, other []step) {
	stitch(p.middle(state[from:to], !p.short), other)
	p.last(state[from:to], !p.short)
	if p.short && from == 0 {
		VEXTRACTI32X4(Imm(1), state[0], x(mask))
	}
	for v := from; v < to; v++ {
		p.add(v)
	}
}

// masks says which bytes of the last register are text, and when sealing, which
// of them are in memory and which in the tail.
func (p *piece) masks() {
	LEAQ(Mem{Base: rest, Disp: -lanes * (p.n - 1)}, tmp2)
	p.lowBytes(maskTail)
	if !p.open {
		SUBQ(NewParamAddr("tailLen", tailLenAt), tmp2)
		p.lowBytes(maskText)
		KANDNQ(maskTail, maskText, maskAdded)
	}
}

// lowBytes makes a mask of the first tmp2 bytes, less those before the text.
func (p *piece) lowBytes(to OpmaskPhysical) {
	MOVQ(I32(-1), tmp)
	BZHIQ(tmp2, tmp, tmp)
	if p.n == 1 {
		SHRQ(Imm(head), tmp)
		SHLQ(Imm(head), tmp)
	}
	KMOVQ(tmp, to)
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
// Behind the text in memory goes the tail: power is free between two powers.
func (p *piece) load(v int, to VecPhysical) {
	switch {
	case v == p.n-1 && p.open:
		VMOVDQU8_Z(p.at(src, v), maskTail, to)
	case v == p.n-1:
		VMOVDQU8_Z(p.at(src, v), maskText, to)
		VMOVQ(NewParamAddr("tail", tailAt), x(power))
		VPEXPANDB(power, maskAdded, to)
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
