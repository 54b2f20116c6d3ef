package suite

import (
	"encoding/binary"
	"fmt"
	"slices"

	"spindle/ike/wire"
)

// IKEKeys are the keys of an IKE SA under their names in RFC 7296 §2.14.
type IKEKeys struct {
	D      Secret // for the keys of child SAs
	AI, AR Secret // integrity, empty with a combined mode
	EI, ER Secret // encryption; in combined modes followed by the salt (RFC 5282 §7.1)
	PI, PR Secret // for AUTH
}

// DeriveIKE is the key schedule of IKE_SA_INIT (RFC 7296 §2.14):
//
//	SKEYSEED = prf(Ni | Nr, g^ir)
//	{SK_d | SK_ai | SK_ar | SK_ei | SK_er | SK_pi | SK_pr} = prf+ (SKEYSEED, Ni | Nr | SPIi | SPIr)
func DeriveIKE(p Proposal, shared, ni, nr []byte, spiI, spiR wire.SPI) (*IKEKeys, error) {
	seed, err := PRF(p.PRF, slices.Concat(ni, nr), shared)
	if err != nil {
		return nil, fmt.Errorf("derive SKEYSEED: %w", err)
	}
	return expandIKE(p, seed, ni, nr, spiI, spiR)
}

// RederiveIKE is the key schedule of a rekeyed IKE SA (RFC 7296 §2.18). oldPRF
// and oldD are of the SA in which the exchange ran: "it is the old IKE SA's PRF
// that is used to generate SKEYSEED". more are the results of additional key
// exchanges in IKE_FOLLOWUP_KE, in order (RFC 9370 §2.2.4).
//
//	SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr | SK(1) | ... SK(n))
func RederiveIKE(p Proposal, oldPRF wire.PRF, oldD Secret, shared, ni, nr []byte, spiI, spiR wire.SPI, more ...Secret) (*IKEKeys, error) {
	data := [][]byte{shared, ni, nr}
	for _, s := range more {
		data = append(data, s)
	}
	seed, err := PRF(oldPRF, oldD, data...)
	if err != nil {
		return nil, fmt.Errorf("derive SKEYSEED: %w", err)
	}
	return expandIKE(p, seed, ni, nr, spiI, spiR)
}

// UpdateIKE is the key schedule after one additional key exchange in
// IKE_INTERMEDIATE (RFC 9370 §2.2.2). old are the keys until then; nonces and
// SPIs are those of IKE_SA_INIT.
//
//	SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr)
func UpdateIKE(p Proposal, old *IKEKeys, shared, ni, nr []byte, spiI, spiR wire.SPI) (*IKEKeys, error) {
	return RederiveIKE(p, p.PRF, old.D, shared, ni, nr, spiI, spiR)
}

func expandIKE(p Proposal, seed Secret, ni, nr []byte, spiI, spiR wire.SPI) (*IKEKeys, error) {
	defer seed.Wipe()
	enc, auth, err := p.keySizes()
	if err != nil {
		return nil, err
	}
	h, err := newHash(p.PRF)
	if err != nil {
		return nil, err
	}
	d := h().Size() // the preferred key size of an HMAC PRF is its output (RFC 7296 §2.13)
	s := slices.Concat(ni, nr)
	s = binary.BigEndian.AppendUint64(s, uint64(spiI))
	s = binary.BigEndian.AppendUint64(s, uint64(spiR))
	keymat, err := PRFPlus(p.PRF, seed, s, 3*d+2*auth+2*enc)
	if err != nil {
		return nil, fmt.Errorf("derive IKE keys: %w", err)
	}
	k := &IKEKeys{}
	for _, part := range []struct {
		key  *Secret
		size int
	}{{&k.D, d}, {&k.AI, auth}, {&k.AR, auth}, {&k.EI, enc}, {&k.ER, enc}, {&k.PI, d}, {&k.PR, d}} {
		*part.key, keymat = keymat[:part.size:part.size], keymat[part.size:]
	}
	return k, nil
}

// keySizes are the octets of KEYMAT that encryption and integrity take in one direction.
func (p Proposal) keySizes() (enc, auth int, err error) {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok {
		return 0, 0, fmt.Errorf("encryption %d with %d bits is not supported", p.Encryption, p.KeyBits)
	}
	a, ok := findIntegrity(p.Integrity)
	if !ok && !e.aead() {
		return 0, 0, fmt.Errorf("integrity %d is not supported", p.Integrity)
	}
	return e.keySize(), a.key, nil
}

// KeymatLen is the length in octets of the KEYMAT of one direction: the key of
// the encryption with its salt, then that of the integrity. It is the length of
// sadb.SA's Key.
func (p Proposal) KeymatLen() (int, error) {
	enc, auth, err := p.keySizes()
	return enc + auth, err
}

// Wipe overwrites every key.
func (k *IKEKeys) Wipe() {
	for _, s := range []Secret{k.D, k.AI, k.AR, k.EI, k.ER, k.PI, k.PR} {
		s.Wipe()
	}
}

// ChildKeys are the KEYMAT of a child SA pair, each in the form of sadb.Key.
type ChildKeys struct {
	Initiator Secret // of the SA that carries packets from the initiator of the exchange to its responder
	Responder Secret // of the SA of the other direction
}

// Split names them as one side sees them. initiator is about the exchange that
// made the child SA, not about the IKE SA.
func (k ChildKeys) Split(initiator bool) (in, out Secret) {
	if initiator {
		return k.Responder, k.Initiator
	}
	return k.Initiator, k.Responder
}

// DeriveChild is the KEYMAT of a child SA (RFC 7296 §2.17). shared is nil
// without perfect forward secrecy; the nonces are those of the exchange that
// makes the child SA. prf and d are of the IKE SA. more are the results of
// additional key exchanges in IKE_FOLLOWUP_KE, in order (RFC 9370 §2.2.4):
//
//	KEYMAT = prf+ (SK_d, SK(0) | Ni | Nr | SK(1) | ... SK(n))
func DeriveChild(prf wire.PRF, d Secret, esp Proposal, shared, ni, nr []byte, more ...Secret) (ChildKeys, error) {
	n, err := esp.KeymatLen()
	if err != nil {
		return ChildKeys{}, fmt.Errorf("derive child keys: %w", err)
	}
	seed := Secret(slices.Concat(shared, ni, nr))
	for _, s := range more {
		seed = append(seed, s...)
	}
	keymat, err := PRFPlus(prf, d, seed, 2*n)
	if err != nil {
		return ChildKeys{}, fmt.Errorf("derive child keys: %w", err)
	}
	return ChildKeys{Initiator: keymat[:n:n], Responder: keymat[n:]}, nil
}
