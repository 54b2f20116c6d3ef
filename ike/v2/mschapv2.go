package v2

import (
	"crypto/des"
	"crypto/sha1"
	"encoding/binary"
	"unicode/utf16"

	"golang.org/x/crypto/md4"

	"spindle/ike/suite"
)

// The functions of RFC 2759 §8 and RFC 3079 §3 under their names there. MD4 and
// DES are what the method is made of; its only protection is the IKE SA that it
// runs in.

func md4Sum(b []byte) (sum [16]byte) {
	h := md4.New()
	h.Write(b)
	h.Sum(sum[:0])
	return sum
}

// ntPasswordHash: RFC 2759 §8.3, MD4 of the password in little-endian UTF-16.
func ntPasswordHash(password string) [16]byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(password)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return md4Sum(b)
}

// challengeHash: RFC 2759 §8.2.
func challengeHash(peer, authenticator [16]byte, user string) (c [8]byte) {
	h := sha1.New()
	h.Write(peer[:])
	h.Write(authenticator[:])
	h.Write([]byte(user))
	copy(c[:], h.Sum(nil))
	return c
}

// challengeResponse: RFC 2759 §8.5, the challenge under three DES keys of 7
// octets each, made of the hash and zeros.
func challengeResponse(challenge [8]byte, hash [16]byte) (response [24]byte) {
	var keys [21]byte
	copy(keys[:], hash[:])
	for i := range 3 {
		key := desKey([7]byte(keys[7*i : 7*i+7]))
		block, err := des.NewCipher(key[:])
		if err != nil {
			continue // eight octets are always a DES key
		}
		block.Encrypt(response[8*i:], challenge[:])
	}
	return response
}

// desKey spreads 56 bits over eight octets; nobody looks at the parity.
func desKey(k [7]byte) (key [8]byte) {
	bits := uint64(0)
	for _, b := range k {
		bits = bits<<8 | uint64(b)
	}
	for i := range key {
		key[i] = byte(bits>>(49-7*i)) << 1
	}
	return key
}

// authenticatorResponse: RFC 2759 §8.7, by which the peer sees that we know the
// password as well.
func authenticatorResponse(hashHash [16]byte, response [24]byte, challenge [8]byte) (out [20]byte) {
	h := sha1.New()
	h.Write(hashHash[:])
	h.Write(response[:])
	h.Write([]byte("Magic server to client signing constant"))
	digest := h.Sum(nil)
	h.Reset()
	h.Write(digest)
	h.Write(challenge[:])
	h.Write([]byte("Pad to make it do more than one iteration"))
	h.Sum(out[:0])
	return out
}

// chapMSK is the MSK of EAP-MSCHAPv2: the master receive and send keys of the
// server (RFC 3079 §3.3, §3.4), and zeros up to 64 octets.
func chapMSK(hashHash [16]byte, response [24]byte) suite.Secret {
	master := sha1.Sum(append(append(hashHash[:], response[:]...), "This is the MPPE Master Key"...))
	msk := make(suite.Secret, 64)
	copy(msk[:16], asymmetricStartKey(master[:16], "On the client side, this is the send key; on the server side, it is the receive key."))
	copy(msk[16:32], asymmetricStartKey(master[:16], "On the client side, this is the receive key; on the server side, it is the send key."))
	return msk
}

func asymmetricStartKey(master []byte, magic string) []byte {
	var pad2 [40]byte
	for i := range pad2 {
		pad2[i] = 0xf2
	}
	h := sha1.New()
	h.Write(master)
	h.Write(make([]byte, 40))
	h.Write([]byte(magic))
	h.Write(pad2[:])
	return h.Sum(nil)[:16]
}
