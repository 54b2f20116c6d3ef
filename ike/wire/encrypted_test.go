package wire_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/wire"
)

// openly protects nothing: the envelope is what is tested. Its checksum is a
// hash of all that a Protector must cover.
type openly struct{ block int }

func (o openly) BlockSize() int { return o.block }
func (o openly) Overhead() int  { return sha256.Size }

func (o openly) Seal(dst, aad, plaintext []byte) ([]byte, error) {
	sum := sha256.Sum256(slices.Concat(aad, plaintext))
	return append(append(dst, plaintext...), sum[:]...), nil
}

func (o openly) Open(aad, body []byte) ([]byte, error) {
	n := len(body) - sha256.Size
	if n < 0 {
		return nil, errors.New("too short")
	}
	sum := sha256.Sum256(slices.Concat(aad, body[:n]))
	if !bytes.Equal(sum[:], body[n:]) {
		return nil, errors.New("checksum differs")
	}
	return slices.Clone(body[:n]), nil
}

func TestEncryptedRoundTrip(t *testing.T) {
	h := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeInformational, Flags: wire.FlagResponse, MessageID: 3}
	for _, block := range []int{1, 4, 16} {
		for _, s := range append(chains(t), sample{"0", nil}) {
			payloads, err := wire.ParsePayloads(s.first(t), s.bytes)
			if err != nil {
				t.Fatal(err)
			}
			b, err := wire.AppendEncrypted([]byte("before"), h, payloads, openly{block})
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.TrimPrefix(b, []byte("before"))
			m, err := wire.OpenEncrypted(b, openly{block})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(payloads, m.Payloads, compareAddr); diff != "" {
				t.Fatal(diff)
			}
			if pad := (len(b) - wire.HeaderSize - 4 - sha256.Size); pad%block != 0 {
				t.Errorf("%d octets are no blocks of %d", pad, block)
			}
		}
	}
}

// Every octet of an encrypted message counts: with any of them changed, or any
// missing, the message is as good as never sent.
func TestEncryptedEveryOctetChanged(t *testing.T) {
	h := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeInformational}
	b, err := wire.AppendEncrypted(nil, h, []wire.Payload{wire.Delete{Protocol: wire.ProtocolESP, SPIs: []uint32{0x100}}}, openly{16})
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1
		if m, err := wire.OpenEncrypted(changed, openly{16}); !errors.Is(err, wire.ErrUnauthenticated) || len(m.Payloads) > 0 {
			t.Errorf("octet %d changed: %v, %v", i, m, err)
		}
		if _, err := wire.OpenEncrypted(b[:i], openly{16}); !errors.Is(err, wire.ErrUnauthenticated) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}

// What is wrong inside an authenticated message is the peer's fault, and said
// to it: such errors are not ErrUnauthenticated.
func TestEncryptedContentErrors(t *testing.T) {
	h := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeInformational, MessageID: 9}
	b, err := wire.AppendEncrypted(nil, h, []wire.Payload{wire.Unknown{Type: 200, Critical: true}}, openly{1})
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.OpenEncrypted(b, openly{1})
	var critical *wire.UnsupportedCriticalError
	if errors.Is(err, wire.ErrUnauthenticated) || !errors.As(err, &critical) || critical.Type != 200 {
		t.Errorf("unknown critical payload inside: %v", err)
	}
	if m.Header.MessageID != 9 {
		t.Errorf("an authenticated message without its header: %+v", m.Header)
	}
	for name, plaintext := range map[string][]byte{"none": {}, "pad length too large": {0, 0, 3}} {
		body, _ := openly{1}.Seal(nil, nil, plaintext)
		sk := wire.SK{Body: body}
		b, err := wire.AppendMessage(nil, h, []wire.Payload{sk})
		if err != nil {
			t.Fatal(err)
		}
		sealed, _ := openly{1}.Seal(b[:wire.HeaderSize+4], b[:wire.HeaderSize+4], plaintext)
		_, err = wire.OpenEncrypted(sealed, openly{1})
		if err == nil || errors.Is(err, wire.ErrUnauthenticated) {
			t.Errorf("plaintext %s: %v", name, err)
		}
	}
	clearMessage, err := wire.AppendMessage(nil, h, []wire.Payload{wire.VendorID{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.OpenEncrypted(clearMessage, openly{1}); !errors.Is(err, wire.ErrUnauthenticated) {
		t.Errorf("message in the clear: %v", err)
	}
}
