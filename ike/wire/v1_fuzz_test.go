package wire_test

import (
	"encoding/binary"
	"testing"

	"spindle/ike/wire"
)

func FuzzV1ParseMessage(f *testing.F) {
	for _, s := range v1Messages(f) {
		f.Add(s.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= wire.HeaderSize {
			binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
		}
		checkV1(t, b)
	})
}

// fuzzV1 frames what the fuzzer finds as the body of one payload, so that it
// spends its time inside that payload's parser.
func fuzzV1(f *testing.F, types ...wire.PayloadType) {
	var chains [][]byte
	for _, s := range v1Messages(f) {
		chains = append(chains, s.bytes)
	}
	for _, s := range v1Chains(f) {
		chains = append(chains, v1Frame(s.first(f), s.bytes))
	}
	for _, b := range chains {
		m, err := wire.ParseV1Message(b)
		if err != nil {
			f.Fatal(err)
		}
		for i, t := range types {
			if body := m.Body(t); body != nil {
				f.Add(uint8(i), body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		if len(body) > 0xffff-4 {
			return
		}
		b := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(4+len(body)))
		checkV1(t, v1Frame(types[int(which)%len(types)], append(b, body...)))
	})
}

func FuzzV1SA(f *testing.F) { fuzzV1(f, wire.PayloadV1SA) }
func FuzzV1KE(f *testing.F) { fuzzV1(f, wire.PayloadV1KE, wire.PayloadV1Nonce, wire.PayloadV1Hash) }
func FuzzV1ID(f *testing.F) { fuzzV1(f, wire.PayloadV1ID) }
func FuzzV1Cert(f *testing.F) {
	fuzzV1(f, wire.PayloadV1Cert, wire.PayloadV1CertRequest, wire.PayloadV1Signature)
}
func FuzzV1Notify(f *testing.F)     { fuzzV1(f, wire.PayloadV1Notify) }
func FuzzV1Delete(f *testing.F)     { fuzzV1(f, wire.PayloadV1Delete, wire.PayloadV1VendorID) }
func FuzzV1Attributes(f *testing.F) { fuzzV1(f, wire.PayloadV1Attributes) }
func FuzzV1NAT(f *testing.F) {
	fuzzV1(f, wire.PayloadV1NATD, wire.PayloadV1NATDDraft, wire.PayloadV1NATOA, wire.PayloadV1NATOADraft)
}
func FuzzV1Fragment(f *testing.F) { fuzzV1(f, wire.PayloadV1CiscoFragment) }

func FuzzV1OpenEncrypted(f *testing.F) {
	for _, s := range v1Chains(f) {
		f.Add(uint8(s.first(f)), xorCipher{8}.Decrypt(s.bytes))
	}
	f.Fuzz(func(t *testing.T, first uint8, ciphertext []byte) {
		b := v1Frame(wire.PayloadType(first), ciphertext)
		b[19] |= byte(wire.V1FlagEncrypted)
		m, err := wire.OpenV1Encrypted(b, xorCipher{8})
		if err != nil {
			return
		}
		if _, err := wire.AppendV1Encrypted(nil, m.Header, m.Payloads, xorCipher{8}); err != nil {
			t.Fatal(err)
		}
	})
}
