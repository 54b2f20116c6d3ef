package gcm

import (
	"encoding/binary"
	"unsafe"
)

// powers is how many powers of the hash key a context holds: the longest run of
// blocks that the kernel hashes with one reduction is 20 and the length block.
const powers = 21

// material is what the kernel reads of a key. tools/gen/gcm knows the offsets.
//
//	  0  round keys, as FIPS 197 §5.2 orders them
//	240  salt
//	244  rounds
//	256  H^21 ... H^2 H^1, each in the form of hashKey
//	592  three blocks that are loaded beside H^1 and only ever meet zeros
type material struct {
	keys   [15][blockSize]byte
	salt   [SaltSize]byte
	rounds uint32
	_      [8]byte
	powers [powers + 3][blockSize]byte
}

func (m *material) pointer() *byte { return (*byte)(unsafe.Pointer(m)) }

// power returns where H^i stands.
func (m *material) power(i int) *byte { return &m.powers[powers-i][0] }

func (m *material) expand(key, salt []byte) {
	copy(m.salt[:], salt)
	m.expandKey(key)
	m.hashKey()
	for i := 2; i <= powers; i++ {
		multiply(m.power(i), m.power(i-1), m.power(1))
	}
}

// expandKey is KeyExpansion of FIPS 197 §5.2, in words as they lie in memory,
// so that the round constant stands in the lowest byte. The S-box is the
// processor's: a table would tell the key to the cache.
func (m *material) expandKey(key []byte) {
	nk := len(key) / 4
	m.rounds = uint32(nk + 6)
	w := unsafe.Slice((*uint32)(unsafe.Pointer(&m.keys)), 4*(nk+7))
	for i := range nk {
		w[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < len(w); i++ {
		t := w[i-1]
		switch {
		case i%nk == 0:
			s := subWord(t)
			t = s>>8 | s<<24 ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b
		case nk == 8 && i%nk == 4:
			t = subWord(t)
		}
		w[i] = w[i-nk] ^ t
	}
}

// hashKey puts H = E(0) in place, divided by x. SP 800-38D §6.3 writes the
// coefficient of x^0 in the first bit of a block; read as numbers with the bytes
// reversed, two blocks multiply to a product that is one factor x too much, and
// taking it out of the key, once, saves taking it out of every block. Dividing
// is a shift left: x^0 falls out and comes back as x^-1 = x^127 + x^6 + x + 1.
func (m *material) hashKey() {
	h := (*[blockSize]byte)(unsafe.Pointer(m.power(1)))
	encryptBlock(m.pointer(), int(m.rounds), m.power(1))
	hi, lo := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
	carry := -(hi >> 63)
	hi, lo = hi<<1|lo>>63, lo<<1
	binary.LittleEndian.PutUint64(h[:8], lo^carry&1)
	binary.LittleEndian.PutUint64(h[8:], hi^carry&0xc200000000000000)
}
