package gcm

import (
	"errors"
	"fmt"
	"unsafe"

	"spindle/datapath/prefetch"
)

const (
	TagSize  = 16
	SaltSize = 4
	// MaxAAD is one block, which the kernel absorbs with one masked load.
	MaxAAD = blockSize
	// MaxTail is what one general register carries.
	MaxTail = 8

	blockSize = 16
)

// Context is one key with its salt, ready for packets. Seal and Open only read
// it, so any number of goroutines may share one; Close must come after them.
type Context struct {
	pool    *Pool
	page    *material
	variant Variant
}

// New expands a key of 16, 24 or 32 bytes, for the pool's variant. It keeps neither
// key nor salt.
func (p *Pool) New(key, salt []byte) (*Context, error) {
	v := p.Variant
	if v == 0 {
		var err error
		if v, err = Best(); v == 0 {
			return nil, errors.Join(ErrUnavailable, err)
		}
	}
	if err := v.Check(); err != nil {
		return nil, err
	}
	return p.context(v, key, salt)
}

// context is New without the question whether the kernel works, which the
// self-test asks.
func (p *Pool) context(v Variant, key, salt []byte) (*Context, error) {
	switch len(key) {
	case 16, 24, 32:
	default:
		return nil, fmt.Errorf("expand AES key: %d bytes, want 16, 24 or 32", len(key))
	}
	if len(salt) != SaltSize {
		return nil, fmt.Errorf("expand AES key: salt of %d bytes, want %d", len(salt), SaltSize)
	}
	m, err := p.take()
	if err != nil {
		return nil, fmt.Errorf("expand AES key: %w", err)
	}
	m.expand(key, salt)
	return &Context{pool: p, page: m, variant: v}, nil
}

// Seal writes src encrypted, and behind it the tag, to dst. iv is the number
// whose 8 big-endian bytes stand in the packet; it must never come twice under
// one key. dst and src are the same memory or do not overlap.
//
// It is false, with dst cleared so that nothing leaves in the clear, when dst
// has no room for the text and TagSize bytes, aad is longer than MaxAAD, or the
// context is closed.
func (c *Context) Seal(dst, src []byte, iv uint64, aad []byte) bool {
	return c.SealTail(dst, src, 0, 0, iv, aad)
}

// SealTail is Seal for a text that ends with bytes that do not stand behind src:
// the lowest tailLen bytes of tail, 0 to MaxTail, lowest first. It saves ESP from
// copying a packet in order to add a trailer to it.
func (c *Context) SealTail(dst, src []byte, tail uint64, tailLen int, iv uint64, aad []byte) bool {
	n := len(src) + tailLen
	if c.page == nil || uint(tailLen) > MaxTail || len(dst) < n+TagSize || len(aad) > MaxAAD {
		clear(dst)
		return false
	}
	if c.splits(len(src), n) {
		copy(dst, src)
		for i := range tailLen {
			dst[len(src)+i] = byte(tail >> (8 * i))
		}
		src, tailLen = dst[:n], 0
	}
	ctx, to, from, bound := c.page.pointer(), unsafe.SliceData(dst), unsafe.SliceData(src), unsafe.SliceData(aad)
	switch {
	case c.variant == AVX2:
		sealAVX2(ctx, to, from, len(src), iv, bound, len(aad), tail, tailLen)
	case c.page.rounds == 10:
		sealAES128(ctx, to, from, len(src), iv, bound, len(aad), tail, tailLen)
	case c.page.rounds == 12:
		sealAES192(ctx, to, from, len(src), iv, bound, len(aad), tail, tailLen)
	default:
		sealAES256(ctx, to, from, len(src), iv, bound, len(aad), tail, tailLen)
	}
	return true
}

// splits is whether a tail from byte from on to byte to begins in one register
// of the kernel and ends in the next. On AVX2 the kernel fills registers of 32 bytes;
// on AVX-512 of 64, and it starts with 32 that are not text.
func (c *Context) splits(from, to int) bool {
	if c.variant == AVX2 {
		return from>>5 < (to-1)>>5
	}
	return (from+32)>>6 < (to+31)>>6
}

// Open verifies src, which ends with the tag, and writes it decrypted to dst.
// When it is false, because the tag is wrong or for a reason Seal names, the
// bytes of dst that would have held plaintext are zero.
func (c *Context) Open(dst, src []byte, iv uint64, aad []byte) bool {
	n := len(src) - TagSize
	if c.page == nil || n < 0 || len(dst) < n || len(aad) > MaxAAD {
		clear(dst)
		return false
	}
	ok := false
	ctx, to, from, bound := c.page.pointer(), unsafe.SliceData(dst), unsafe.SliceData(src), unsafe.SliceData(aad)
	switch {
	case c.variant == AVX2:
		ok = openAVX2(ctx, to, from, n, iv, bound, len(aad))
	case c.page.rounds == 10:
		ok = openAES128(ctx, to, from, n, iv, bound, len(aad))
	case c.page.rounds == 12:
		ok = openAES192(ctx, to, from, n, iv, bound, len(aad))
	default:
		ok = openAES256(ctx, to, from, n, iv, bound, len(aad))
	}
	if !ok {
		clear(dst[:n])
	}
	return ok
}

// Prefetch asks for what Seal or Open will need of the key for n bytes: the round
// keys, and as many powers of the hash key as there are blocks.
func (c *Context) Prefetch(n int) {
	if c.page == nil {
		return
	}
	prefetch.Bytes(unsafe.Pointer(c.page), unsafe.Offsetof(c.page.powers))
	first := max(powers-2-n/blockSize, 0)
	prefetch.Bytes(unsafe.Pointer(&c.page.powers[first]), uintptr(powers-first)*blockSize)
}

// Close overwrites the key. Closing twice does nothing.
func (c *Context) Close() {
	if c.page != nil {
		c.pool.give(c.page)
		c.page = nil
	}
}
