package suite

import (
	"crypto"
	"crypto/rsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"spindle/ike/wire"
)

// V1Sign signs HASH_I or HASH_R: RFC 2409 §5.1, with RSA it is "encoded in PKCS
// #1 format" as it is, without the identifier of a hash.
func V1Sign(rand io.Reader, key crypto.Signer, hash []byte) ([]byte, error) {
	if _, ok := key.Public().(*rsa.PublicKey); !ok {
		return nil, errors.New("sign for IKEv1: the key is not an RSA key")
	}
	sig, err := key.Sign(rand, hash, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("sign for IKEv1: %w", err)
	}
	return sig, nil
}

// V1Verify checks what V1Sign made.
func V1Verify(key crypto.PublicKey, hash, sig []byte) error {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return errors.New("verify IKEv1 signature: the key is not an RSA key")
	}
	if err := rsa.VerifyPKCS1v15(public, crypto.Hash(0), hash, sig); err != nil {
		return fmt.Errorf("verify IKEv1 signature: %w", err)
	}
	return nil
}

// V1NATHash is the data of a NAT-D payload: RFC 3947 §3.2,
// "HASH = HASH(CKY-I | CKY-R | IP | Port)" with the negotiated hash.
func V1NATHash(prf wire.PRF, spiI, spiR wire.SPI, at netip.AddrPort) ([]byte, error) {
	h, err := newHash(prf)
	if err != nil {
		return nil, err
	}
	sum := h()
	sum.Write(V1Exchange{SPIi: spiI, SPIr: spiR}.cookies())
	sum.Write(at.Addr().Unmap().AsSlice())
	sum.Write(binary.BigEndian.AppendUint16(nil, at.Port()))
	return sum.Sum(nil), nil
}
