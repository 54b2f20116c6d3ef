package esp

import (
	"encoding/binary"
	"fmt"

	"spindle/datapath/esp/gcm"
	"spindle/datapath/prefetch"
	"spindle/sadb"
)

// kernel is AES-GCM with an ICV of 16 bytes (RFC 4106) by package gcm. It has the
// shape of aead, but takes the payload from where it lies.
type kernel struct {
	context gcm.Context
	aad     [12]byte // scratch
	spi     uint32
	esn     bool
}

// prepare makes the kernel ready, which stands in its SA: one place less to go to.
func (k *kernel) prepare(s *Suite, sa *sadb.SA, keys *gcm.Pool) (protector, error) {
	c, err := keys.New(sa.Key[:s.encryption], sa.Key[s.encryption:])
	if err != nil {
		return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
	}
	*k = kernel{context: *c, spi: uint32(sa.SPI), esn: sa.ESN}
	return k, nil
}

// bind fills the associated data (RFC 4106 §5). Without ESN it does so with one
// store: the kernel, which loads it at once, would wait for two.
func (k *kernel) bind(seq uint64) []byte {
	if k.esn {
		binary.BigEndian.PutUint32(k.aad[:], k.spi)
		binary.BigEndian.PutUint64(k.aad[4:], seq)
		return k.aad[:]
	}
	binary.BigEndian.PutUint64(k.aad[:], uint64(k.spi)<<32|uint64(uint32(seq)))
	return k.aad[:HeaderLen]
}

func (k *kernel) seal(esp []byte, seq uint64) {
	k.sealFrom(esp, esp[HeaderLen+aeadIV:len(esp)-gcm.TagSize], 0, 0, seq)
}

// sealFrom is seal for a payload that is not in its place yet, and the n bytes of
// trailer that follow it, lowest first. The lengths are right by construction; if
// they were not, the context would clear the packet.
func (k *kernel) sealFrom(esp, payload []byte, trailer uint64, n int, seq uint64) {
	binary.BigEndian.PutUint64(esp[HeaderLen:], seq)
	k.context.SealTail(esp[HeaderLen+aeadIV:], payload, trailer, n, seq, k.bind(seq))
}

func (k *kernel) open(dst, esp []byte, seq uint64) bool {
	iv := binary.BigEndian.Uint64(esp[HeaderLen:])
	return k.context.Open(dst, esp[HeaderLen+aeadIV:], iv, k.bind(seq))
}

func (k *kernel) wipe() { k.context.Close() }

// Prefetch asks for what Seal will need of the key for n bytes.
func (o *Outbound) Prefetch(n int) { o.kernel.context.Prefetch(n) }

// Prefetch does so for Open, and for the part of the replay window as well that it
// will look at if there is no ESN.
func (in *Inbound) Prefetch(esp []byte) {
	in.kernel.context.Prefetch(len(esp))
	if w := &in.window; w.size > 0 {
		prefetch.Of(&w.ring[w.word(uint64(binary.BigEndian.Uint32(esp[4:])))])
	}
}
