package wire_test

import (
	"encoding/binary"
	"testing"

	"spindle/ike/wire"
)

func FuzzParseMessage(f *testing.F) {
	for _, s := range messages(f) {
		f.Add(s.bytes)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= wire.HeaderSize {
			// Past the first check, or nothing else would be tried.
			binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
		}
		checkMessage(t, b)
	})
}

func FuzzParsePayloads(f *testing.F) {
	for _, s := range chains(f) {
		f.Add(uint8(s.first(f)), s.bytes)
	}
	f.Fuzz(func(t *testing.T, first uint8, b []byte) {
		checkChain(t, wire.PayloadType(first), b)
	})
}

// fuzzPayload frames what the fuzzer finds as the body of one payload, so that
// it spends its time inside that payload's parser.
func fuzzPayload(f *testing.F, types ...wire.PayloadType) {
	seed := func(payloads []wire.Payload) {
		for _, p := range payloads {
			for i, t := range types {
				if p.PayloadType() != t {
					continue
				}
				b, err := wire.AppendMessage(nil, wire.Header{}, []wire.Payload{p})
				if err != nil {
					f.Fatal(err)
				}
				f.Add(uint8(i), b[wire.HeaderSize+4:])
			}
		}
	}
	for _, s := range messages(f) {
		m, err := wire.ParseMessage(s.bytes)
		if err != nil {
			f.Fatal(err)
		}
		seed(m.Payloads)
	}
	for _, s := range chains(f) {
		payloads, err := wire.ParsePayloads(s.first(f), s.bytes)
		if err != nil {
			f.Fatal(err)
		}
		seed(payloads)
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		if len(body) > 0xffff-4 {
			return
		}
		b := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(4+len(body)))
		checkChain(t, types[int(which)%len(types)], append(b, body...))
	})
}

func FuzzSA(f *testing.F)     { fuzzPayload(f, wire.PayloadSA) }
func FuzzKE(f *testing.F)     { fuzzPayload(f, wire.PayloadKE, wire.PayloadNonce) }
func FuzzID(f *testing.F)     { fuzzPayload(f, wire.PayloadIDi, wire.PayloadIDr) }
func FuzzCERT(f *testing.F)   { fuzzPayload(f, wire.PayloadCERT, wire.PayloadCERTREQ, wire.PayloadAUTH) }
func FuzzNotify(f *testing.F) { fuzzPayload(f, wire.PayloadNotify) }
func FuzzDelete(f *testing.F) { fuzzPayload(f, wire.PayloadDelete, wire.PayloadVendorID) }
func FuzzTS(f *testing.F)     { fuzzPayload(f, wire.PayloadTSi, wire.PayloadTSr) }
func FuzzCP(f *testing.F)     { fuzzPayload(f, wire.PayloadCP) }
func FuzzEAP(f *testing.F)    { fuzzPayload(f, wire.PayloadEAP) }

func FuzzOpenEncrypted(f *testing.F) {
	for _, s := range chains(f) {
		f.Add(uint8(s.first(f)), s.bytes)
	}
	f.Fuzz(func(t *testing.T, first uint8, plaintext []byte) {
		if len(plaintext) > 0xff00 {
			return
		}
		b, err := wire.AppendMessage(nil, wire.Header{}, []wire.Payload{
			wire.SK{First: wire.PayloadType(first), Body: make([]byte, len(plaintext)+openly{}.Overhead())}})
		if err != nil {
			t.Fatal(err)
		}
		aad := b[:wire.HeaderSize+4]
		b, _ = openly{}.Seal(aad, aad, plaintext)
		m, err := wire.OpenEncrypted(b, openly{1})
		if err != nil {
			return
		}
		if _, err := wire.AppendEncrypted(nil, m.Header, m.Payloads, openly{1}); err != nil {
			t.Fatal(err)
		}
	})
}
