package esp_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// craft seals any plaintext as a peer could, with the standard library alone.
func craft(t testing.TB, sa *sadb.SA, seq uint32, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(sa.Key[:16])
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	iv := []byte("anything")
	esp := binary.BigEndian.AppendUint32(nil, uint32(sa.SPI))
	esp = binary.BigEndian.AppendUint32(esp, seq)
	sealed := aead.Seal(nil, append(bytes.Clone(sa.Key[16:]), iv...), plain, esp)
	return append(append(esp, iv...), sealed...)
}

func TestTrailers(t *testing.T) {
	v4, v6 := inner(false, 62, 0), inner(true, 62, 0)
	short := bytes.Clone(v4)
	short[3]++ // one byte more than there are
	headless := bytes.Clone(v4)
	headless[0] = 0x44
	count := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i + 1)
		}
		return b
	}
	with := func(b []byte, pad []byte, length, next byte) []byte {
		return append(append(bytes.Clone(b), pad...), length, next)
	}
	for _, c := range []struct {
		name  string
		plain []byte
		want  packet.Verdict
		inner []byte
	}{
		{"IPv4", with(v4, nil, 0, 4), packet.Pass, v4},
		{"IPv6", with(v6, nil, 0, 41), packet.Pass, v6},
		{"most padding", with(v4[:60:60], append([]byte{v4[60], v4[61], 0}, count(255)...), 255, 4), packet.Pass, v4},
		{"RFC 4303 §2.7 TFC padding", with(append(bytes.Clone(v6), make([]byte, 400)...), count(4), 4, 41), packet.Pass, v6},
		{"dummy", with(make([]byte, 98), nil, 0, 59), packet.DropDummy, nil},
		{"dummy of nothing", []byte{1, 2, 2, 59}, packet.DropDummy, nil},
		{"padding of zeros", with(v4, make([]byte, 4), 4, 4), packet.DropPadding, nil},
		{"padding off by one at its end", with(v4, []byte{1, 2, 3, 5}, 4, 4), packet.DropPadding, nil},
		{"more padding than packet", []byte{1, 2, 3, 4}, packet.DropPadding, nil},
		{"nothing but padding", []byte{1, 2, 2, 4}, packet.DropTruncated, nil},
		{"transport mode TCP", with(v4, nil, 0, 6), packet.DropPadding, nil},
		{"IPv6 said to be IPv4", with(v6, nil, 0, 4), packet.DropMalformed, nil},
		{"IPv4 said to be IPv6", with(v4, nil, 0, 41), packet.DropMalformed, nil},
		{"longer than what came", with(short, nil, 0, 4), packet.DropTruncated, nil},
		{"header length below 20", with(headless, nil, 0, 4), packet.DropMalformed, nil},
		{"IP version 5", with(append([]byte{0x55}, v4[1:]...), nil, 0, 4), packet.DropNotIP, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, "aes128gcm16")
			if len(c.plain)%4 != 0 {
				t.Fatalf("%d bytes are not aligned", len(c.plain))
			}
			got, v := p.open(craft(t, &p.sa, 1, c.plain), 0)
			if v != c.want || !bytes.Equal(got, c.inner) {
				t.Errorf("%v %x, want %v %x", v, got, c.want, c.inner)
			}
			if p.in.LastUsed == 0 {
				t.Error("an authentic packet is no proof of life")
			}
			if _, v := p.open(craft(t, &p.sa, 1, c.plain), 0); v != packet.DropReplay {
				t.Errorf("again: %v", v)
			}
		})
	}
}

func TestUnalignedCiphertextIsRefused(t *testing.T) {
	p := newPair(t, "aes128gcm16")
	if _, v := p.open(craft(t, &p.sa, 1, make([]byte, 61)), 0); v != packet.DropMalformed {
		t.Error(v)
	}
}

// RFC 4303 §2.2.1: with a separate integrity algorithm the high half of the
// sequence number is covered after the trailer, though it is not sent.
func TestESNWithHMACCoversTheHighHalf(t *testing.T) {
	const seq = 5<<32 | 9
	p := newPair(t, "aes256-sha384", func(sa *sadb.SA) { sa.ESN = true })
	p.out.SetSequence(seq - 1)
	clear := inner(false, 60, 0)
	body, _ := espOf(t, p.seal(t, clear))
	covered, icv := body[:len(body)-24], body[len(body)-24:]
	mac := hmac.New(sha512.New384, p.sa.Key[32:])
	mac.Write(covered)
	mac.Write([]byte{0, 0, 0, 5})
	if !bytes.Equal(mac.Sum(nil)[:24], icv) {
		t.Error("ICV differs")
	}
	block, err := aes.NewCipher(p.sa.Key[:32])
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, len(covered)-24)
	cipher.NewCBCDecrypter(block, covered[8:24]).CryptBlocks(plain, covered[24:])
	if !bytes.Equal(plain[:60], clear) {
		t.Errorf("plaintext %x", plain)
	}
}

// RFC 3602 §3 forbids IVs that can be foretold: two SAs with the same key and
// sequence number must not agree, nor two packets of one SA.
func TestCBCIVsDoNotRepeat(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		p := newPair(t, "aes128-sha256")
		for range 500 {
			body, _ := espOf(t, p.seal(t, inner(false, 60, 0)))
			seen[string(body[8:24])] = true
		}
	}
	if len(seen) != 1000 {
		t.Errorf("%d different IVs of 1000", len(seen))
	}
}
