package suite

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"spindle/ike/wire"
)

// NonceSize suits every PRF here: "at least half the key size of the
// negotiated pseudorandom function" (RFC 7296 §2.10).
const NonceSize = 32

// SignedOctets is what AUTH proves (RFC 7296 §2.15). For the initiator, message
// is its whole IKE_SA_INIT request as sent, peerNonce is Nr, skp SK_pi and id
// the IDi it sends; for the responder its response, Ni, SK_pr and IDr. intAuth
// are the octets of [IntAuth], if there are any (RFC 9242 §3.3.2).
func SignedOctets(prf wire.PRF, message, peerNonce []byte, skp Secret, id wire.Identity, intAuth ...byte) ([]byte, error) {
	maced, err := PRF(prf, skp, id.Append(nil))
	if err != nil {
		return nil, fmt.Errorf("signed octets: %w", err)
	}
	return slices.Concat(message, peerNonce, maced, intAuth), nil
}

// keyPad keeps a PSK from being used with an unpadded one (RFC 7296 §2.15).
const keyPad = "Key Pad for IKEv2"

// PSKAuth is the AUTH data of AuthSharedKey, made with a configured key or with
// an MSK (RFC 7296 §2.15, §2.16):
//
//	AUTH = prf( prf(Shared Secret, "Key Pad for IKEv2"), <SignedOctets>)
func PSKAuth(prf wire.PRF, psk, signedOctets []byte) ([]byte, error) {
	key, err := PRF(prf, psk, []byte(keyPad))
	if err != nil {
		return nil, fmt.Errorf("authenticate by shared key: %w", err)
	}
	defer key.Wipe()
	return PRF(prf, key, signedOctets)
}

// VerifyPSK says whether data is what PSKAuth gives, in constant time.
func VerifyPSK(prf wire.PRF, psk, signedOctets, data []byte) bool {
	want, err := PSKAuth(prf, psk, signedOctets)
	return err == nil && hmac.Equal(want, data)
}

// EAPAuth is the AUTH data of AuthSharedKey after EAP: by the MSK, or by SK_pi or
// SK_pr (skp) when the method gave none (RFC 7296 §2.16).
func EAPAuth(prf wire.PRF, msk, skp Secret, signedOctets []byte) ([]byte, error) {
	if len(msk) == 0 {
		msk = skp
	}
	return PSKAuth(prf, msk, signedOctets)
}

// VerifyEAP says whether data is what EAPAuth gives, in constant time.
func VerifyEAP(prf wire.PRF, msk, skp Secret, signedOctets, data []byte) bool {
	want, err := EAPAuth(prf, msk, skp, signedOctets)
	return err == nil && hmac.Equal(want, data)
}

// NATDetection is the data of NAT_DETECTION_SOURCE_IP and
// NAT_DETECTION_DESTINATION_IP: "a SHA-1 digest of the SPIs (in the order they
// appear in the header), IP address, and port" (RFC 7296 §2.23).
func NATDetection(spiI, spiR wire.SPI, at netip.AddrPort) [sha1.Size]byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(spiI))
	b = binary.BigEndian.AppendUint64(b, uint64(spiR))
	b = append(b, at.Addr().Unmap().AsSlice()...)
	return sha1.Sum(binary.BigEndian.AppendUint16(b, at.Port()))
}
