package suite

import (
	"encoding/binary"
	"fmt"
	"slices"

	"spindle/ike/wire"
)

// V1Keys are the keys of an ISAKMP SA under their names in RFC 2409 §5.
type V1Keys struct {
	SKEYID  Secret
	D, A, E Secret
	Cipher  Secret // the encryption key itself (RFC 2409 appendix B)
}

// Wipe overwrites every key.
func (k *V1Keys) Wipe() {
	for _, s := range []Secret{k.SKEYID, k.D, k.A, k.E, k.Cipher} {
		s.Wipe()
	}
}

// V1Exchange is what both sides know of a phase 1 exchange. The SPIs are the
// cookies CKY-I and CKY-R; the public values are as sent.
type V1Exchange struct {
	SPIi, SPIr       wire.SPI
	NonceI, NonceR   []byte // Ni_b, Nr_b
	PublicI, PublicR []byte // g^xi, g^xr
	SA               []byte // SAi_b, the whole body of the initiator's SA payload
	Shared           Secret // g^xy
	PSK              []byte // nil with signatures
}

// V1DeriveIKE is the key schedule of phase 1 (RFC 2409 §5):
//
//	SKEYID   = prf(pre-shared-key, Ni_b | Nr_b)   with a pre-shared key
//	SKEYID   = prf(Ni_b | Nr_b, g^xy)             with signatures
//	SKEYID_d = prf(SKEYID, g^xy | CKY-I | CKY-R | 0)
//	SKEYID_a = prf(SKEYID, SKEYID_d | g^xy | CKY-I | CKY-R | 1)
//	SKEYID_e = prf(SKEYID, SKEYID_a | g^xy | CKY-I | CKY-R | 2)
func V1DeriveIKE(p Proposal, auth V1Auth, x V1Exchange) (*V1Keys, error) {
	nonces := slices.Concat(x.NonceI, x.NonceR)
	key, data := nonces, []byte(x.Shared)
	if auth.PSK() {
		key, data = x.PSK, nonces
	}
	skeyid, err := PRF(p.PRF, key, data)
	if err != nil {
		return nil, fmt.Errorf("derive SKEYID: %w", err)
	}
	k := &V1Keys{SKEYID: skeyid}
	cookies := x.cookies()
	var last Secret
	for i, part := range []*Secret{&k.D, &k.A, &k.E} {
		if last, err = PRF(p.PRF, skeyid, last, x.Shared, cookies, []byte{byte(i)}); err != nil {
			return nil, fmt.Errorf("derive SKEYID: %w", err)
		}
		*part = last
	}
	k.Cipher, err = v1CipherKey(p, k.E)
	return k, err
}

func (x V1Exchange) cookies() []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(x.SPIi))
	return binary.BigEndian.AppendUint64(b, uint64(x.SPIr))
}

// v1CipherKey is SKEYID_e if it is long enough, else its expansion (RFC 2409
// appendix B): Ka = K1 | K2 | ..., K1 = prf(SKEYID_e, 0), K2 = prf(SKEYID_e, K1).
func v1CipherKey(p Proposal, e Secret) (Secret, error) {
	enc, _, err := p.keySizes()
	if err != nil {
		return nil, err
	}
	if len(e) >= enc {
		return slices.Clone(e[:enc]), nil
	}
	return v1Expand(p.PRF, e, enc, []byte{0}, nil)
}

// v1Expand repeats K1 = prf(key, first | seed), Kn = prf(key, Kn-1 | seed).
func v1Expand(prf wire.PRF, key Secret, size int, first, seed []byte) (Secret, error) {
	var out Secret
	last := first
	for len(out) < size {
		k, err := PRF(prf, key, last, seed)
		if err != nil {
			return nil, err
		}
		out, last = append(out, k...), k
	}
	return out[:size:size], nil
}

// V1Hash is what each side of phase 1 proves itself by (RFC 2409 §5). id is the
// body of its ID payload. With signatures it is what is signed.
//
//	HASH_I = prf(SKEYID, g^xi | g^xr | CKY-I | CKY-R | SAi_b | IDii_b )
//	HASH_R = prf(SKEYID, g^xr | g^xi | CKY-R | CKY-I | SAi_b | IDir_b )
func V1Hash(prf wire.PRF, skeyid Secret, x V1Exchange, initiator bool, id []byte) ([]byte, error) {
	if !initiator {
		x.PublicI, x.PublicR = x.PublicR, x.PublicI
		x.SPIi, x.SPIr = x.SPIr, x.SPIi
	}
	return PRF(prf, skeyid, x.PublicI, x.PublicR, x.cookies(), x.SA, id)
}

// V1HashPhase2 is the hash that starts each message after phase 1: HASH(1) and
// the one of informational and transaction exchanges without nonces, HASH(2)
// with Ni_b (RFC 2409 §5.5, §5.7).
//
//	HASH(1) = prf(SKEYID_a, M-ID | payloads)
//	HASH(2) = prf(SKEYID_a, M-ID | Ni_b | payloads)
func V1HashPhase2(prf wire.PRF, a Secret, id uint32, parts ...[]byte) ([]byte, error) {
	return PRF(prf, a, append([][]byte{binary.BigEndian.AppendUint32(nil, id)}, parts...)...)
}

// V1Hash3 ends a quick mode: HASH(3) = prf(SKEYID_a, 0 | M-ID | Ni_b | Nr_b).
func V1Hash3(prf wire.PRF, a Secret, id uint32, ni, nr []byte) ([]byte, error) {
	return PRF(prf, a, []byte{0}, binary.BigEndian.AppendUint32(nil, id), ni, nr)
}

// V1DeriveChild is the KEYMAT of one direction (RFC 2409 §5.5). shared is nil
// without perfect forward secrecy, spi is that of the receiving side.
//
//	KEYMAT = K1 | K2 | K3 | ...
//	K1 = prf(SKEYID_d, [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
//	K2 = prf(SKEYID_d, K1 | [ g(qm)^xy | ] protocol | SPI | Ni_b | Nr_b)
func V1DeriveChild(prf wire.PRF, d Secret, esp Proposal, shared Secret, spi, ni, nr []byte) (Secret, error) {
	enc, auth, err := esp.keySizes()
	if err != nil {
		return nil, fmt.Errorf("derive child keys: %w", err)
	}
	seed := slices.Concat(shared, []byte{byte(wire.ProtocolESP)}, spi, ni, nr)
	return v1Expand(prf, d, enc+auth, nil, seed)
}
