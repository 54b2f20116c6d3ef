package esp_test

import (
	"bytes"
	"testing"

	"spindle/datapath/packet"
)

// FuzzOpen feeds arbitrary bytes as ESP packets, and as the plaintext of
// authentic ones, which a hostile peer chooses just as freely.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add(inner(false, 62, 0), uint8(3))
	f.Add(append(inner(true, 62, 0), 0, 41), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, tos uint8) {
		p := newPair(t, "aes128gcm16")
		if _, v := p.open(b, tos); v == packet.Pass {
			t.Fatal("a forged packet passed")
		}
		got, v := p.open(craft(t, &p.sa, 1, b), tos)
		if (v == packet.Pass) != (len(got) > 0) {
			t.Fatalf("%v with %d bytes", v, len(got))
		}
		if v == packet.Pass {
			if n, v := packet.Length(got); v != packet.Pass || n != len(got) {
				t.Fatalf("passed %d bytes of a packet of %d (%v)", len(got), n, v)
			}
		}
		c := newPair(t, "aes128-sha256")
		if _, v := c.open(b, tos); v == packet.Pass {
			t.Fatal("a forged packet passed")
		}
	})
}

// FuzzSeal checks that whatever Seal takes, Open gives back.
func FuzzSeal(f *testing.F) {
	f.Add(inner(false, 62, 0), 200)
	f.Add(inner(true, 62, 1), 200)
	f.Fuzz(func(t *testing.T, b []byte, room int) {
		for _, suite := range []string{"aes256gcm16", "aes128-sha512"} {
			p := newPair(t, suite)
			dst := make([]byte, min(max(room, 0), 1<<17))
			n, v := p.out.Seal(dst, b, 1)
			if v != packet.Pass {
				if n != 0 || !bytes.Equal(dst, make([]byte, len(dst))) {
					t.Fatalf("%v, but dst was written", v)
				}
				continue
			}
			body, h := espOf(t, dst[:n])
			want, _ := packet.Length(b)
			got, v := p.open(body, h.TOS)
			if v != packet.Pass || !bytes.Equal(got, b[:want]) {
				t.Fatalf("%v: %x, want %x", v, got, b[:want])
			}
		}
	})
}
