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

func v1Messages(t testing.TB) []sample { return samples(t, "testdata/v1_messages.txt") }

// v1Chains are what stood inside encrypted messages, by the type of the first payload.
func v1Chains(t testing.TB) []sample { return samples(t, "testdata/v1_payloads.txt") }

// v1Frame makes a message in the clear of a chain.
func v1Frame(first wire.PayloadType, chain []byte) []byte {
	b, _ := wire.AppendV1Message(nil, wire.Header{InitiatorSPI: 1, Exchange: wire.V1ExchangeInformational, MessageID: 7}, nil)
	b = append(b, chain...)
	b[16] = byte(first)
	binary.BigEndian.PutUint32(b[24:], uint32(len(b)))
	return b
}

// checkV1 demands that a message which parses is written such that it parses to
// the same, and that the octets of its payloads are all there is.
func checkV1(t *testing.T, b []byte) {
	t.Helper()
	m, err := wire.ParseV1Message(b)
	if err != nil {
		checkError(t, err, len(b))
		return
	}
	if whole := bytes.Join(append([][]byte{b[:wire.HeaderSize]}, m.Octets...), nil); !bytes.Equal(whole, b) {
		t.Fatalf("the octets of the payloads are not those of the message")
	}
	once, err := wire.AppendV1Message(nil, m.Header, m.Payloads)
	if err != nil {
		t.Fatalf("append what was parsed: %v", err)
	}
	again, err := wire.ParseV1Message(once)
	if err != nil {
		t.Fatalf("parse what was appended: %v", err)
	}
	m.Header.Version = wire.Version1 // a minor version is not sent
	if !reflect.DeepEqual(m.Header, again.Header) || !reflect.DeepEqual(m.Payloads, again.Payloads) {
		t.Fatalf("parse, append, parse:\n%s", cmp.Diff(m, again, compareAddr))
	}
}

func TestV1MessagesRoundTrip(t *testing.T) {
	list := v1Messages(t)
	for _, s := range v1Chains(t) {
		list = append(list, sample{"chain", v1Frame(s.first(t), s.bytes)})
	}
	for _, s := range list {
		m, err := wire.ParseV1Message(s.bytes)
		if err != nil {
			t.Errorf("%s %x: %v", s.word, s.bytes, err)
			continue
		}
		b, err := wire.AppendV1Message(nil, m.Header, m.Payloads)
		if err != nil || !bytes.Equal(b, s.bytes) {
			t.Errorf("%v %v\n got %x\nwant %x", m, err, b, s.bytes)
		}
		checkV1(t, s.bytes)
	}
}

// TestV1EveryTruncation cuts every message everywhere, with the length in its
// header left alone and corrected: none may parse.
func TestV1EveryTruncation(t *testing.T) {
	for _, s := range v1Messages(t) {
		v1Truncate(t, s.bytes)
	}
	for _, s := range v1Chains(t) {
		v1Truncate(t, v1Frame(s.first(t), s.bytes))
	}
}

func v1Truncate(t *testing.T, whole []byte) {
	t.Helper()
	for n := range whole {
		if _, err := wire.ParseV1Message(whole[:n]); !errors.Is(err, wire.ErrTruncated) {
			t.Fatalf("%x cut at %d: %v", whole, n, err)
		}
		if n < wire.HeaderSize {
			continue
		}
		b := bytes.Clone(whole[:n])
		binary.BigEndian.PutUint32(b[24:], uint32(n))
		_, err := wire.ParseV1Message(b)
		if !errors.Is(err, wire.ErrTruncated) {
			t.Fatalf("%x cut at %d with its length corrected: %v", whole, n, err)
		}
		checkError(t, err, n)
	}
}

// TestV1EveryOctetChanged lets every length, count and type lie.
func TestV1EveryOctetChanged(t *testing.T) {
	list := v1Messages(t)
	for _, s := range v1Chains(t) {
		list = append(list, sample{"chain", v1Frame(s.first(t), s.bytes)})
	}
	for _, s := range list {
		for i := range s.bytes {
			for _, change := range []byte{0x01, 0x80, 0xff} {
				b := bytes.Clone(s.bytes)
				b[i] ^= change
				checkV1(t, b)
			}
		}
	}
}

// xorCipher encrypts nothing to speak of: the envelope is what is tested.
type xorCipher struct{ block int }

func (c xorCipher) BlockSize() int { return c.block }

func (c xorCipher) Encrypt(dst, plaintext []byte) []byte {
	return append(dst, c.Decrypt(plaintext)...)
}

func (c xorCipher) Decrypt(ciphertext []byte) []byte {
	out := bytes.Clone(ciphertext)
	for i := range out {
		out[i] ^= 0x55
	}
	return out
}

func TestV1EncryptedRoundTrip(t *testing.T) {
	h := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.V1ExchangeQuickMode, MessageID: 3}
	for _, block := range []int{8, 16} {
		for _, s := range v1Chains(t) {
			m, err := wire.ParseV1Message(v1Frame(s.first(t), s.bytes))
			if err != nil {
				t.Fatal(err)
			}
			b, err := wire.AppendV1Encrypted([]byte("before"), h, m.Payloads, xorCipher{block})
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.TrimPrefix(b, []byte("before"))
			got, err := wire.OpenV1Encrypted(b, xorCipher{block})
			if err != nil || !got.Header.V1Encrypted() {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m.Payloads, got.Payloads, compareAddr); diff != "" {
				t.Fatal(diff)
			}
			chain, err := wire.AppendV1Chain(nil, got.Payloads[1:])
			if err != nil || !bytes.Equal(chain, got.AfterFirst()) {
				t.Errorf("%v: what follows the first payload differs: %v", got, err)
			}
			if (len(b)-wire.HeaderSize)%block != 0 {
				t.Errorf("%d octets are no blocks of %d", len(b), block)
			}
			for n := range b {
				if _, err := wire.OpenV1Encrypted(b[:n], xorCipher{block}); err == nil {
					t.Fatalf("cut at %d opens", n)
				}
			}
		}
	}
}

// TestV1WrongKeyIsAnError: a message that was encrypted with another key is
// noise, and an error in all but few cases; here in every one.
func TestV1WrongKeyIsAnError(t *testing.T) {
	for _, s := range v1Chains(t) {
		b := v1Frame(s.first(t), append(bytes.Clone(s.bytes), make([]byte, 16-len(s.bytes)%16)...))
		b[19] |= byte(wire.V1FlagEncrypted)
		if m, err := wire.OpenV1Encrypted(b, xorCipher{16}); err == nil {
			t.Errorf("noise parses: %v", m)
		}
	}
}

// TestV1Fragments cuts messages in pieces and joins them in any order.
func TestV1Fragments(t *testing.T) {
	for _, s := range v1Messages(t) {
		for _, size := range []int{40, 500, 1 << 15} {
			pieces, err := wire.SplitV1(s.bytes, 9, size)
			if err != nil {
				t.Fatal(err)
			}
			var fragments []wire.V1Fragment
			for i := range pieces {
				m, err := wire.ParseV1Message(pieces[len(pieces)-1-i])
				if err != nil {
					t.Fatal(err)
				}
				f, _ := wire.Find[wire.V1Fragment](m.Payloads)
				if _, done := wire.JoinV1(fragments); done {
					t.Fatal("done before the last fragment")
				}
				fragments = append(fragments, f)
			}
			whole, done := wire.JoinV1(fragments)
			if !done || !bytes.Equal(whole, s.bytes) {
				t.Fatalf("%d pieces of %d octets do not join", len(pieces), size)
			}
			if _, done := wire.JoinV1(append(fragments, fragments[0])); done {
				t.Error("a fragment that is there twice joins")
			}
		}
	}
	if _, err := wire.SplitV1(v1Messages(t)[0].bytes, 1, 1); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("too many pieces: %v", err)
	}
}
