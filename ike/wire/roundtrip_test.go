package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/wire"
)

// checkMessage demands that a message which parses is written such that it
// parses to the same, and from then on to the same octets.
func checkMessage(t *testing.T, b []byte) {
	t.Helper()
	m, err := wire.ParseMessage(b)
	if err != nil {
		checkError(t, err, len(b))
		return
	}
	once, err := wire.AppendMessage(nil, m.Header, m.Payloads)
	if err != nil {
		t.Fatalf("append what was parsed: %v", err)
	}
	again, err := wire.ParseMessage(once)
	if err != nil {
		t.Fatalf("parse what was appended: %v", err)
	}
	if !reflect.DeepEqual(m, again) {
		t.Fatalf("parse, append, parse:\n%s", cmp.Diff(m, again, compareAddr))
	}
	twice, err := wire.AppendMessage([]byte("before"), again.Header, again.Payloads)
	if err != nil || !bytes.Equal(twice, append([]byte("before"), once...)) {
		t.Fatalf("append is no fixpoint: %v", err)
	}
}

func checkChain(t *testing.T, first wire.PayloadType, b []byte) {
	t.Helper()
	payloads, err := wire.ParsePayloads(first, b)
	if err != nil {
		checkError(t, err, len(b))
		return
	}
	once, err := wire.AppendMessage(nil, wire.Header{}, payloads)
	if err != nil {
		t.Fatalf("append what was parsed: %v", err)
	}
	m, err := wire.ParseMessage(once)
	if err != nil {
		t.Fatalf("parse what was appended: %v", err)
	}
	if !reflect.DeepEqual(payloads, m.Payloads) {
		t.Fatalf("parse, append, parse:\n%s", cmp.Diff(payloads, m.Payloads, compareAddr))
	}
}

// checkError demands that an error says where, and that it is inside the input.
func checkError(t *testing.T, err error, size int) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *wire.Error", err)
	}
	if e.Offset < 0 || e.Offset > size {
		t.Fatalf("offset %d outside of %d octets: %v", e.Offset, size, err)
	}
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, s := range messages(t) {
		t.Run(s.word, func(t *testing.T) {
			m, err := wire.ParseMessage(s.bytes)
			if err != nil {
				t.Fatal(err)
			}
			b, err := wire.AppendMessage(nil, m.Header, m.Payloads)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, s.bytes) {
				t.Errorf("%v\n got %x\nwant %x", m, b, s.bytes)
			}
			checkMessage(t, s.bytes)
		})
	}
}

func TestChainsRoundTrip(t *testing.T) {
	for _, s := range chains(t) {
		payloads, err := wire.ParsePayloads(s.first(t), s.bytes)
		if err != nil {
			t.Errorf("%x: %v", s.bytes, err)
			continue
		}
		b, err := wire.AppendMessage(nil, wire.Header{}, payloads)
		if err != nil || !bytes.Equal(b[wire.HeaderSize:], s.bytes) {
			t.Errorf("%v\n got %x\nwant %x", err, b, s.bytes)
		}
	}
}

// TestEveryTruncation cuts every message and chain everywhere. With the header's
// length left alone and corrected, none may parse.
func TestEveryTruncation(t *testing.T) {
	for _, s := range messages(t) {
		for n := range s.bytes {
			_, err := wire.ParseMessage(s.bytes[:n])
			if !errors.Is(err, wire.ErrTruncated) {
				t.Fatalf("%s cut at %d: %v", s.word, n, err)
			}
			checkError(t, err, n)
			if n < wire.HeaderSize {
				continue
			}
			b := bytes.Clone(s.bytes[:n])
			binary.BigEndian.PutUint32(b[24:], uint32(n))
			_, err = wire.ParseMessage(b)
			if !errors.Is(err, wire.ErrTruncated) {
				t.Fatalf("%s cut at %d with its length corrected: %v", s.word, n, err)
			}
			checkError(t, err, n)
		}
	}
	for _, s := range chains(t) {
		for n := range s.bytes {
			_, err := wire.ParsePayloads(s.first(t), s.bytes[:n])
			if !errors.Is(err, wire.ErrTruncated) {
				t.Fatalf("%s %x cut at %d: %v", s.word, s.bytes, n, err)
			}
			checkError(t, err, n)
		}
	}
}

// TestEveryOctetChanged lets every length, count and type lie.
func TestEveryOctetChanged(t *testing.T) {
	for _, s := range messages(t) {
		for i := range s.bytes {
			for _, change := range []byte{0x01, 0x80, 0xff} {
				b := bytes.Clone(s.bytes)
				b[i] ^= change
				checkMessage(t, b)
			}
		}
	}
	for _, s := range chains(t) {
		for i := range s.bytes {
			for _, change := range []byte{0x01, 0x80, 0xff} {
				b := bytes.Clone(s.bytes)
				b[i] ^= change
				checkChain(t, s.first(t), b)
			}
		}
	}
}

func TestMessageString(t *testing.T) {
	m, err := wire.ParseMessage(messages(t)[0].bytes)
	if err != nil {
		t.Fatal(err)
	}
	want := "IKE_SA_INIT request 0 [ SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) " +
		"N(IKEV2_FRAGMENTATION_SUPPORTED) N(SIGNATURE_HASH_ALGORITHMS) N(REDIRECT_SUPPORTED) ]"
	if m.String() != want {
		t.Errorf("got  %s\nwant %s", m, want)
	}
}

// TestFieldsOfARealMessage reads a strongSwan IKE_SA_INIT field by field: what its
// configuration said is there.
func TestFieldsOfARealMessage(t *testing.T) {
	m, err := wire.ParseMessage(messages(t)[0].bytes)
	if err != nil {
		t.Fatal(err)
	}
	h := wire.Header{InitiatorSPI: 0xb6f0279ee9c3faec, NextPayload: wire.PayloadSA, Version: wire.Version2,
		Exchange: wire.ExchangeIKESAInit, Flags: wire.FlagInitiator, Length: 464}
	if m.Header != h {
		t.Errorf("header %+v", m.Header)
	}
	sa, _ := wire.Find[wire.SA](m.Payloads)
	want := wire.SA{Proposals: []wire.Proposal{{Number: 1, Protocol: wire.ProtocolIKE, SPI: []byte{}, Transforms: []wire.Transform{
		{Type: wire.TransformEncryption, ID: uint16(wire.EncryptionAESCBC), Attributes: []wire.Attribute{wire.KeyLength(128)}},
		{Type: wire.TransformIntegrity, ID: uint16(wire.IntegrityHMACSHA2256128)},
		{Type: wire.TransformPRF, ID: uint16(wire.PRFHMACSHA2256)},
		{Type: wire.TransformKE, ID: uint16(wire.GroupMODP2048)},
	}}}}
	if diff := cmp.Diff(want, sa); diff != "" {
		t.Error(diff)
	}
	ke, _ := wire.Find[wire.KE](m.Payloads)
	if ke.Group != wire.GroupMODP2048 || len(ke.Data) != 256 {
		t.Errorf("KE of %v with %d octets", ke.Group, len(ke.Data))
	}
	if n, ok := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionSourceIP); !ok || len(n.Data) != 20 {
		t.Errorf("NAT detection %v %+v", ok, n)
	}
	if _, ok := m.Encrypted(); ok {
		t.Error("an encrypted payload where there is none")
	}
}
