package gcm_test

import (
	"encoding/binary"
)

// wideFrom is a wide register or as many bytes of memory.
func (e *emulator) wideFrom(i *instruction, a argument, n int) (v [64]byte) {
	if a.kind == wide {
		copy(v[:n], e.vector[a.n][:n])
	} else {
		copy(v[:n], e.at(i, a, n))
	}
	return v
}

// wideTo writes n bytes; what a register has above is cleared.
func (e *emulator) wideTo(i *instruction, a argument, n int, v [64]byte) {
	if a.kind != wide {
		copy(e.at(i, a, n), v[:n])
		return
	}
	e.vector[a.n] = [64]byte{}
	copy(e.vector[a.n][:n], v[:n])
}

// vectors does what is done in wide registers and masks.
func (e *emulator) vectors(i *instruction) {
	args := i.args
	var last argument
	if len(args) > 0 {
		last = args[len(args)-1]
	}
	size := last.size
	switch i.op {
	case "VZEROUPPER":
		for r := range 16 {
			clear(e.vector[r][16:])
		}
	case "KMOVQ":
		e.mask[last.n] = e.general[args[0].n]
	case "KMOVD":
		e.mask[last.n] = e.general[args[0].n] & 0xffffffff
	case "KANDNQ":
		e.mask[last.n] = ^e.mask[args[1].n] & e.mask[args[0].n]
	case "VPTEST":
		a, b := e.wideFrom(i, args[0], size), e.wideFrom(i, args[1], size)
		e.zero = each64(a, b, func(x, y uint64) uint64 { return x & y }) == [64]byte{}
	case "VMOVDQU", "VMOVDQU64":
		n := max(args[0].size, last.size)
		e.wideTo(i, last, n, e.wideFrom(i, args[0], n))
	case "VMOVDQU8", "VMOVDQU8.Z":
		e.masked(i)
	case "VMOVQ", "VMOVD":
		n := map[string]int{"VMOVQ": 8, "VMOVD": 4}[i.op]
		if last.kind != wide {
			e.put(i, last, n, binary.LittleEndian.Uint64(e.vector[args[0].n][:8]))
			return
		}
		var v [64]byte
		binary.LittleEndian.PutUint64(v[:], e.get(i, args[0], n))
		e.wideTo(i, last, 16, v)
	case "VPINSRQ", "VPINSRD":
		n := map[string]int{"VPINSRQ": 8, "VPINSRD": 4}[i.op]
		v := e.wideFrom(i, args[2], 16)
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], e.get(i, args[1], n))
		copy(v[n*int(args[0].value):][:n], word[:])
		e.wideTo(i, last, 16, v)
	case "VPEXTRQ":
		e.put(i, last, 8, binary.LittleEndian.Uint64(e.vector[args[1].n][8*args[0].value:]))
	case "VINSERTI128", "VINSERTI32X4":
		v, part := e.wideFrom(i, args[2], size), e.wideFrom(i, args[1], 16)
		copy(v[16*args[0].value:][:16], part[:])
		e.wideTo(i, last, size, v)
	case "VEXTRACTI128", "VEXTRACTI32X4", "VEXTRACTI64X4":
		n := 16
		if i.op == "VEXTRACTI64X4" {
			n = 32
		}
		var v [64]byte
		copy(v[:n], e.vector[args[1].n][n*int(args[0].value):])
		e.wideTo(i, last, n, v)
	case "VBROADCASTI128", "VBROADCASTI32X4", "VBROADCASTI64X4":
		n := 16
		if i.op == "VBROADCASTI64X4" {
			n = 32
		}
		v := e.wideFrom(i, args[0], n)
		for at := n; at < size; at += n {
			copy(v[at:], v[:n])
		}
		e.wideTo(i, last, size, v)
	case "VPBROADCASTQ":
		var v [64]byte
		for at := 0; at < size; at += 8 {
			binary.LittleEndian.PutUint64(v[at:], e.general[args[0].n])
		}
		e.wideTo(i, last, size, v)
	case "VPBROADCASTD.Z":
		var v [64]byte
		for n := range size / 4 {
			if e.mask[args[1].n]>>n&1 != 0 {
				binary.LittleEndian.PutUint32(v[4*n:], uint32(e.general[args[0].n]))
			}
		}
		e.wideTo(i, last, size, v)
	case "VPEXPANDB":
		v, from := e.wideFrom(i, last, size), 0
		for n := range size {
			if e.mask[args[1].n]>>n&1 != 0 {
				v[n] = e.vector[args[0].n][from]
				from++
			}
		}
		e.wideTo(i, last, size, v)
	default:
		e.lanes(i, size)
	}
}

// masked moves the bytes that the mask names: no other is touched.
func (e *emulator) masked(i *instruction) {
	from, to := i.args[0], i.args[2]
	n := max(from.size, to.size)
	var v [64]byte
	for b := range n {
		if e.mask[i.args[1].n]>>b&1 == 0 {
			continue
		}
		source, target := from, to
		source.value += uint64(b)
		target.value += uint64(b)
		if from.kind == wide {
			v[b] = e.vector[from.n][b]
		} else {
			v[b] = e.at(i, source, 1)[0]
		}
		if to.kind != wide {
			e.at(i, target, 1)[0] = v[b]
		}
	}
	if to.kind == wide {
		e.wideTo(i, to, n, v)
	}
}

func each64(a, b [64]byte, f func(x, y uint64) uint64) (v [64]byte) {
	for at := 0; at < 64; at += 8 {
		binary.LittleEndian.PutUint64(v[at:], f(binary.LittleEndian.Uint64(a[at:]), binary.LittleEndian.Uint64(b[at:])))
	}
	return v
}

// lanes does what treats each 16 bytes alike.
func (e *emulator) lanes(i *instruction, size int) {
	args := i.args
	last := args[len(args)-1]
	first := 0
	if args[0].kind == immediate {
		first = 1
	}
	a, b := e.wideFrom(i, args[first], size), [64]byte{}
	if len(args) > first+2 {
		b = e.wideFrom(i, args[first+1], size)
	}
	var v [64]byte
	switch i.op {
	case "VPXOR", "VPXORQ", "VPXORD":
		v = each64(a, b, func(x, y uint64) uint64 { return x ^ y })
	case "VPAND":
		v = each64(a, b, func(x, y uint64) uint64 { return x & y })
	case "VPADDD":
		v = each64(a, b, func(x, y uint64) uint64 { return uint64(uint32(x)+uint32(y)) | (x>>32+y>>32)<<32 })
	case "VPTERNLOGD":
		if args[0].value != 0x96 {
			panic("another truth table: " + i.line)
		}
		v = each64(each64(a, b, func(x, y uint64) uint64 { return x ^ y }), e.wideFrom(i, last, size), func(x, y uint64) uint64 { return x ^ y })
	default:
		for at := 0; at < size; at += 16 {
			copy(v[at:], lane(i, [16]byte(a[at:]), [16]byte(b[at:])))
		}
	}
	e.wideTo(i, last, size, v)
}

// lane takes operands in the order of the assembly, the second as the processor's
// manuals call the first source.
func lane(i *instruction, a, b [16]byte) []byte {
	var v [16]byte
	switch i.op {
	case "VPSHUFB":
		for n := range v {
			if a[n]&0x80 == 0 {
				v[n] = b[a[n]&15]
			}
		}
	case "VPSHUFD":
		for n := range 4 {
			copy(v[4*n:], a[4*(i.args[0].value>>(2*n)&3):][:4])
		}
	case "VPUNPCKLQDQ":
		copy(v[:8], b[:8])
		copy(v[8:], a[:8])
	case "VPCLMULQDQ":
		which := i.args[0].value
		x, y := binary.LittleEndian.Uint64(b[8*(which&1):]), binary.LittleEndian.Uint64(a[8*(which>>4&1):])
		var low, high uint64
		for n := range 64 {
			if y>>n&1 != 0 {
				low ^= x << n
				high ^= x >> 1 >> (63 - n)
			}
		}
		binary.LittleEndian.PutUint64(v[:], low)
		binary.LittleEndian.PutUint64(v[8:], high)
	case "VAESENC", "VAESENCLAST":
		v = aesRound(b, a, i.op == "VAESENCLAST")
	default:
		panic("unknown instruction: " + i.line)
	}
	return v[:]
}

// aesRound is ShiftRows, SubBytes, but in the last round MixColumns, and AddRoundKey
// (FIPS 197 §5.1).
func aesRound(state, key [16]byte, last bool) (v [16]byte) {
	var s [16]byte
	for n := range s {
		s[n] = sBox[state[(n+4*(n%4))%16]]
	}
	for c := 0; c < 16; c += 4 {
		for r := range 4 {
			v[c+r] = s[c+r] ^ key[c+r]
			if !last {
				v[c+r] = twice(s[c+r]) ^ twice(s[c+(r+1)%4]) ^ s[c+(r+1)%4] ^ s[c+(r+2)%4] ^ s[c+(r+3)%4] ^ key[c+r]
			}
		}
	}
	return v
}

func twice(b byte) byte { return b<<1 ^ b>>7*0x1b }

// sBox is the inverse in GF(2^8) and an affine map (FIPS 197 §5.1.1): p goes through
// the powers of 3, and q through their inverses.
var sBox = func() (box [256]byte) {
	p, q := byte(1), byte(1)
	for {
		p ^= twice(p)
		q ^= q << 1
		q ^= q << 2
		q ^= q << 4
		q ^= q >> 7 * 0x09
		x := q
		for n := 1; n < 5; n++ {
			x ^= q<<n | q>>(8-n)
		}
		box[p] = x ^ 0x63
		if p == 1 {
			break
		}
	}
	box[0] = 0x63
	return box
}()
