package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/wire"
)

var fragmentHeader = wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeIKEAuth, Flags: wire.FlagInitiator, MessageID: 1}

// content are payloads of about n octets that differ everywhere.
func content(n int) []wire.Payload {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(data)
	return []wire.Payload{wire.IDi{Identity: wire.Identity{Type: wire.IDKeyID, Data: []byte("id")}}, wire.VendorID{Data: data}}
}

func fragments(t testing.TB, n, size, block int) [][]byte {
	t.Helper()
	b, err := wire.AppendFragments(fragmentHeader, content(n), openly{block}, size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Any size of message and datagram: nothing is larger than asked for, all but
// the last are as large as blocks let them, and the whole comes back in any order.
func TestFragmentsRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		n, size, block := rng.IntN(3000), 150+rng.IntN(1200), []int{1, 8, 16}[rng.IntN(3)]
		messages, err := wire.AppendFragments(fragmentHeader, content(n), openly{block}, size)
		if err != nil {
			if !errors.Is(err, wire.ErrTooMany) || n/(size-60) < wire.MaxFragments/4 {
				t.Fatalf("%d octets by %d: %v", n, size, err)
			}
			continue
		}
		for i, b := range messages {
			if len(b) > size || i < len(messages)-1 && len(b) <= size-block {
				t.Fatalf("fragment %d of %d has %d octets of %d", i+1, len(messages), len(b), size)
			}
		}
		if len(messages) == 1 {
			if m, err := wire.OpenEncrypted(messages[0], openly{block}); err != nil || cmp.Diff(content(n), m.Payloads) != "" {
				t.Fatal(err)
			}
			continue
		}
		rng.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
		var r wire.Reassembly
		for i, b := range messages {
			m, complete, err := r.Add(b, openly{block})
			if err != nil || complete != (i == len(messages)-1) {
				t.Fatalf("%d of %d: %v, %v", i+1, len(messages), complete, err)
			}
			if complete {
				if diff := cmp.Diff(content(n), m.Payloads); diff != "" || m.Header.MessageID != 1 {
					t.Fatal(m.Header, diff)
				}
			}
		}
	}
}

// RFC 7383 §2.5: only the first fragment names a payload, and each is numbered.
func TestFragmentHeaders(t *testing.T) {
	messages := fragments(t, 1000, 300, 1)
	for i, b := range messages {
		m, err := wire.ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		f, ok := wire.Find[wire.SKF](m.Payloads)
		want := wire.PayloadNone
		if i == 0 {
			want = wire.PayloadIDi
		}
		if !ok || f.First != want || int(f.Fragment) != i+1 || int(f.Total) != len(messages) {
			t.Errorf("fragment %d: %+v", i+1, f)
		}
	}
}

func TestFragmentsRefuse(t *testing.T) {
	for name, c := range map[string]struct{ n, size int }{
		"no room":            {1000, wire.HeaderSize + 4 + 4 + 32 + 1},
		"too many fragments": {10000, 150},
	} {
		if _, err := wire.AppendFragments(fragmentHeader, content(c.n), openly{1}, c.size); err == nil {
			t.Error(name)
		}
	}
	one, err := wire.AppendFragments(fragmentHeader, nil, openly{16}, 1280)
	if err != nil || len(one) != 1 {
		t.Errorf("an empty message in %d fragments, %v", len(one), err)
	}
}

// add demands what comes of one fragment.
func add(t *testing.T, r *wire.Reassembly, b []byte, complete bool, cause error) {
	t.Helper()
	m, done, err := r.Add(b, openly{1})
	if done != complete || !errors.Is(err, cause) || cause == nil && err != nil {
		t.Errorf("complete %v, error %v; want %v, %v", done, err, complete, cause)
	}
	if complete && cause == nil && cmp.Diff(content(1000), m.Payloads) != "" {
		t.Error("another message came out")
	}
}

// RFC 7383 §2.6: what repeats or is older is dropped, what is cut smaller
// starts anew, and a message that is complete stays so.
func TestReassemblyRepetitions(t *testing.T) {
	large, small := fragments(t, 1000, 500, 1), fragments(t, 1000, 250, 1)
	var r wire.Reassembly
	add(t, &r, large[0], false, nil)
	add(t, &r, large[0], false, wire.ErrRepeated)
	add(t, &r, small[1], false, nil) // the peer found a smaller path MTU
	add(t, &r, large[1], false, wire.ErrOutdated)
	for i, b := range small {
		if i != 1 {
			add(t, &r, b, i == len(small)-1, nil)
		}
	}
	add(t, &r, small[0], false, wire.ErrRepeated)
	add(t, &r, large[2], false, wire.ErrRepeated)
}

// An authenticated fragment of another message replaces what was begun; what is
// forged changes nothing.
func TestReassemblyOfAnotherMessage(t *testing.T) {
	first := fragments(t, 1000, 500, 1)
	h := fragmentHeader
	h.MessageID = 2
	second, err := wire.AppendFragments(h, content(1000), openly{1}, 500)
	if err != nil {
		t.Fatal(err)
	}
	var r wire.Reassembly
	add(t, &r, first[0], false, nil)
	forged := bytes.Clone(second[0])
	forged[len(forged)-1] ^= 1
	add(t, &r, forged, false, wire.ErrUnauthenticated)
	add(t, &r, first[1], false, nil)
	add(t, &r, second[0], false, nil)
	add(t, &r, first[2], false, nil)
	add(t, &r, second[1], false, nil)
	add(t, &r, second[0], false, nil)
	add(t, &r, second[2], true, nil)
}

// Every octet of a fragment counts, the two numbers too.
func TestFragmentEveryOctetChanged(t *testing.T) {
	messages := fragments(t, 100, 150, 16)
	for _, b := range messages {
		for i := range b {
			changed := bytes.Clone(b)
			changed[i] ^= 1
			var r wire.Reassembly
			if m, complete, err := r.Add(changed, openly{16}); err == nil || complete || m.Payloads != nil {
				t.Errorf("octet %d changed: %v, %v", i, complete, err)
			}
			if _, complete, err := r.Add(b[:i], openly{16}); !errors.Is(err, wire.ErrUnauthenticated) || complete {
				t.Errorf("cut at %d: %v, %v", i, complete, err)
			}
		}
	}
}

// skf seals a fragment of any numbers.
func skf(t testing.TB, fragment, total uint16, plaintext []byte) []byte {
	t.Helper()
	b, err := wire.AppendMessage(nil, fragmentHeader, []wire.Payload{
		wire.SKF{First: wire.PayloadVendorID, Fragment: fragment, Total: total, Body: make([]byte, len(plaintext)+openly{}.Overhead())}})
	if err != nil {
		t.Fatal(err)
	}
	aad := b[:wire.HeaderSize+8]
	b, _ = openly{}.Seal(aad, aad, plaintext)
	return b
}

func TestReassemblyBounds(t *testing.T) {
	var r wire.Reassembly
	add(t, &r, skf(t, 1, wire.MaxFragments+1, []byte{0}), false, wire.ErrTooMany)
	add(t, &r, skf(t, 1, 0xffff, []byte{0}), false, wire.ErrTooMany)
	for _, b := range [][]byte{skf(t, 0, 2, []byte{0}), skf(t, 3, 2, []byte{0}), skf(t, 1, 0, []byte{0})} {
		add(t, &r, b, false, wire.ErrUnauthenticated)
	}
	half := make([]byte, wire.MaxReassembled/2+10)
	add(t, &r, skf(t, 1, 3, half), false, nil)
	add(t, &r, skf(t, 2, 3, half), false, wire.ErrTooMany)
	// Nothing is left of it.
	add(t, &r, skf(t, 2, 3, []byte{0}), false, nil)
	add(t, &r, skf(t, 1, 3, []byte{0}), false, nil)
	if _, complete, err := r.Add(skf(t, 3, 3, []byte("\x00\x00\x00\x05x\x00")), openly{1}); !complete || err != nil {
		t.Errorf("complete %v, %v", complete, err)
	}
	// A plaintext without even a Pad Length, and a message whose content is wrong.
	var other wire.Reassembly
	if _, _, err := other.Add(skf(t, 1, 1, nil), openly{1}); err == nil || errors.Is(err, wire.ErrUnauthenticated) {
		t.Errorf("no pad length: %v", err)
	}
	m, complete, err := other.Add(skf(t, 1, 1, []byte{1, 2, 0}), openly{1})
	if !complete || err == nil || errors.Is(err, wire.ErrUnauthenticated) || m.Header.MessageID != 1 {
		t.Errorf("broken content: %v, %v", complete, err)
	}
	add(t, &other, []byte("no message"), false, wire.ErrUnauthenticated)
	sk, err := wire.AppendEncrypted(nil, fragmentHeader, nil, openly{1})
	if err != nil {
		t.Fatal(err)
	}
	add(t, &other, sk, false, wire.ErrUnauthenticated)
}

// RFC 9242 §3.3.2: both ends cover the same octets, whether the message came
// whole or in fragments, and the lengths count neither padding nor checksum.
func TestIntermediateOctets(t *testing.T) {
	h := fragmentHeader
	h.Exchange = wire.ExchangeIKEIntermediate
	sent, err := wire.IntermediateOctets(h, content(1000))
	if err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(sent[24:]); int(n) != len(sent) || sent[16] != byte(wire.PayloadSK) {
		t.Errorf("header says %d of %d octets, first payload %d", n, len(sent), sent[16])
	}
	if n := binary.BigEndian.Uint16(sent[30:]); int(n) != len(sent)-wire.HeaderSize || sent[28] != byte(wire.PayloadIDi) {
		t.Errorf("payload says %d of %d octets", n, len(sent)-wire.HeaderSize)
	}
	plain, err := wire.AppendMessage(nil, h, content(1000))
	if err != nil || !bytes.Equal(sent[wire.HeaderSize+4:], plain[wire.HeaderSize:]) {
		t.Error("the payloads are not in the clear", err)
	}
	for _, size := range []int{2000, 500, 130} {
		messages, err := wire.AppendFragments(h, content(1000), openly{16}, size)
		if err != nil {
			t.Fatal(err)
		}
		var m wire.Message
		var r wire.Reassembly
		for _, b := range messages {
			if len(messages) == 1 {
				m, err = wire.OpenEncrypted(b, openly{16})
			} else {
				m, _, err = r.Add(b, openly{16})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := m.IntermediateOctets(); !bytes.Equal(got, sent) {
			t.Errorf("received in %d datagrams\n%x, sent\n%x", len(messages), got, sent)
		}
	}
	if (wire.Message{}).IntermediateOctets() != nil {
		t.Error("octets of a message that was not opened")
	}
}

// FuzzReassembly feeds fragments of any numbers and content: it never holds
// more than its bounds, and gives a message only when all of it is there.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{1, 2, 5, 'a', 'b', 'c', 'd', 0, 2, 2, 3, 'e', 'f', 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		var r wire.Reassembly
		got := map[byte]bool{}
		var total byte
		for len(script) >= 3 {
			number, of, n := script[0], script[1], min(int(script[2]), len(script)-3)
			b := skf(t, uint16(number), uint16(of), script[3:3+n])
			script = script[3+n:]
			m, complete, err := r.Add(b, openly{1})
			if err == nil || complete {
				if of != total {
					clear(got)
					total = of
				}
				got[number] = true
			}
			if complete && len(got) != int(of) {
				t.Fatalf("complete with %d of %d: %v", len(got), of, m)
			}
			if complete {
				r, total = wire.Reassembly{}, 0
			}
		}
	})
}
