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

// FuzzTransport feeds the plaintext of authentic packets in transport mode, whose
// headers a NAT could have changed, and checks that what passes is one packet.
func FuzzTransport(f *testing.F) {
	for i, c := range headers {
		f.Add(between(i, 30), append(between(i, 30)[len(between(i, 30))-30:], 0, packet.UDP), c.v6)
	}
	f.Fuzz(func(t *testing.T, ip, plain []byte, encap bool) {
		var h packet.Header
		if h.ParseIP(ip) != packet.Pass || h.Fragment || len(plain) > 2000 {
			return
		}
		p := newPair(t, "aes128gcm16", transport(h.Version == 6, encap))
		body := craft(t, &p.sa, 1, plain)
		whole := append(bytes.Clone(ip[:h.Payload]), body...)
		h.Length = len(whole)
		dst := make([]byte, len(whole))
		n, v := p.in.Open(dst, whole, &h, body, 1)
		if v != packet.Pass {
			return
		}
		if got, v := packet.Length(dst[:n]); h.Version == 4 && (v != packet.Pass || got != n) {
			t.Fatalf("passed %d bytes, a packet of %d (%v)", n, got, v)
		}
		// What came out can go in again, unless it is what transport mode refuses.
		sealed := make([]byte, n+p.out.Overhead())
		if n, v := p.out.Seal(sealed, dst[:n], 1); v == packet.Pass {
			var oh packet.Header
			if v := oh.ParseIP(sealed[:n]); v != packet.Pass {
				t.Fatalf("sealed to a packet that is none: %v %x", v, sealed[:n])
			}
		}
	})
}

// FuzzSeal checks that whatever Seal takes, Open gives back.
func FuzzSeal(f *testing.F) {
	f.Add(inner(false, 62, 0), 200)
	f.Add(inner(true, 62, 1), 200)
	f.Fuzz(func(t *testing.T, b []byte, room int) {
		p := newPair(t, "aes192ctr-sha1", transport(false, true))
		if n, v := p.out.Seal(make([]byte, len(b)+p.out.Overhead()), b, 1); v == packet.Pass && n != p.out.Sealed(b) {
			t.Fatalf("transport mode: %d bytes, Sealed says %d", n, p.out.Sealed(b))
		}
		for _, suite := range []string{"aes256gcm16", "aes128-sha512", "aes128gcm8", "aes256gmac"} {
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
