package suite_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

var protections = []string{
	"aes128gcm16-prfsha256-x25519", "aes192gcm12-prfsha256-x25519", "aes256gcm8-prfsha256-x25519",
	"aes128-sha256-x25519", "aes192-sha384-x25519", "aes256-sha512-x25519",
	"chacha20poly1305-prfsha256-x25519", "aes128ctr-sha256-x25519", "aes192ctr-sha384-x25519", "aes256ctr-sha512-x25519",
	"3des-sha1-x25519", "des-md5-x25519",
}

// pair are both ends of one IKE SA.
func pair(t *testing.T, keyword string) (initiator, responder wire.Protector) {
	t.Helper()
	p := mustIKE(t, keyword)
	keys, err := suite.DeriveIKE(p, []byte("shared"), make([]byte, 32), make([]byte, 32), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	if initiator, err = suite.NewProtector(p, keys, true, rand.NewChaCha8([32]byte{1})); err != nil {
		t.Fatal(err)
	}
	if responder, err = suite.NewProtector(p, keys, false, rand.NewChaCha8([32]byte{2})); err != nil {
		t.Fatal(err)
	}
	return initiator, responder
}

func TestProtectBothWays(t *testing.T) {
	header := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator}
	for _, keyword := range protections {
		i, r := pair(t, keyword)
		for n := range 40 {
			payloads := []wire.Payload{wire.VendorID{Data: make([]byte, n)}}
			for _, way := range []struct{ from, to wire.Protector }{{i, r}, {r, i}} {
				b, err := wire.AppendEncrypted(nil, header, payloads, way.from)
				if err != nil {
					t.Fatal(err)
				}
				m, err := wire.OpenEncrypted(b, way.to)
				if err != nil || len(m.Payloads) != 1 || !bytes.Equal(m.Payloads[0].(wire.VendorID).Data, make([]byte, n)) {
					t.Fatalf("%s: %v, %v", keyword, m, err)
				}
				if _, err := wire.OpenEncrypted(b, way.from); err == nil {
					t.Fatalf("%s: a message reflected to its sender is accepted", keyword)
				}
			}
		}
	}
}

// Any bit changed and any octet missing is refused, in the header too.
func TestProtectRefusesChanges(t *testing.T) {
	header := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeInformational}
	for _, keyword := range protections {
		i, r := pair(t, keyword)
		b, err := wire.AppendEncrypted(nil, header, []wire.Payload{wire.VendorID{Data: []byte("content")}}, i)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(b) {
			changed := bytes.Clone(b)
			changed[bit/8] ^= 1 << (bit % 8)
			if _, err := wire.OpenEncrypted(changed, r); err == nil {
				t.Errorf("%s: bit %d changed and accepted", keyword, bit)
			}
		}
		body := b[wire.HeaderSize+4:]
		for n := range body {
			if _, err := r.Open(b[:wire.HeaderSize+4], body[:n]); err == nil {
				t.Errorf("%s: cut at %d and accepted", keyword, n)
			}
		}
	}
}

// RFC 5282 §3.1: an IV never repeats under one key; and in CBC it is unpredictable.
func TestInitializationVectorsNeverRepeat(t *testing.T) {
	for _, keyword := range protections {
		i, _ := pair(t, keyword)
		seen := map[string]bool{}
		for range 1000 {
			body, err := i.Seal(nil, nil, make([]byte, i.BlockSize()))
			if err != nil {
				t.Fatal(err)
			}
			iv := string(body[:8])
			if seen[iv] {
				t.Fatalf("%s: %x twice", keyword, iv)
			}
			seen[iv] = true
		}
	}
}

// Nothing prints a secret, whatever the verb or the encoder.
func TestSecretsNeverPrint(t *testing.T) {
	p := mustIKE(t, "aes128-sha256-ecp256")
	keys, err := suite.DeriveIKE(p, []byte("shared"), make([]byte, 32), make([]byte, 32), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	protector, err := suite.NewProtector(p, keys, true, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	values := []any{keys, *keys, keys.D, suite.ChildKeys{Initiator: keys.EI, Responder: keys.ER}, protector}
	private := bytes.Repeat([]byte{0x5a}, 128)
	for _, g := range allGroups {
		values = append(values, generate(t, g, bytes.NewReader(private)))
	}
	for g := range kems {
		values = append(values, generate(t, g, bytes.NewReader(private)))
	}
	var out bytes.Buffer
	text, logJSON := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%b", "%o"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		text.Info("", "v", v)
		logJSON.Info("", "v", v)
	}
	for _, secret := range []string{string(keys.D[:4]), string(keys.EI[:4]), string(private[:4])} {
		for _, form := range []string{
			fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret))[1:10], secret,
			strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}"),
		} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%q is printed", form)
			}
		}
	}
	if !strings.Contains(out.String(), "secret") {
		t.Error("nothing was printed")
	}
}

func TestWipe(t *testing.T) {
	keys, err := suite.DeriveIKE(mustIKE(t, "aes128-sha256-ecp256"), []byte("shared"), make([]byte, 32), make([]byte, 32), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	keys.Wipe()
	for _, s := range []suite.Secret{keys.D, keys.AI, keys.AR, keys.EI, keys.ER, keys.PI, keys.PR} {
		if len(s) == 0 || !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("%d octets left", len(s))
		}
	}
}

// RFC 4231 §4.3 (key "Jefe") is the PRF's vector.
func TestPRFVector(t *testing.T) {
	for prf, want := range map[wire.PRF]string{
		wire.PRFHMACSHA2256: "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
		wire.PRFHMACSHA2384: "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
		wire.PRFHMACSHA2512: "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554" +
			"9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
	} {
		got, err := suite.PRF(prf, []byte("Jefe"), []byte("what do ya want "), []byte("for nothing?"))
		if err != nil || !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("prf %d differs, %v", prf, err)
		}
	}
}

// prf+ beyond the lengths of the conversations, against Python's hmac.
func TestPRFPlusAgainstPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is the oracle, and is not installed")
	}
	const script = `
import hmac, sys
t = out = b""
i = 1
while len(out) < int(sys.argv[2]):
    t = hmac.new(b"key", t + b"seed" + bytes([i]), sys.argv[1]).digest()
    out += t
    i += 1
print(out[:int(sys.argv[2])].hex())`
	for prf, name := range map[wire.PRF]string{wire.PRFHMACMD5: "md5", wire.PRFHMACSHA1: "sha1",
		wire.PRFHMACSHA2256: "sha256", wire.PRFHMACSHA2384: "sha384", wire.PRFHMACSHA2512: "sha512"} {
		for _, n := range []int{1, 33, 255 * 16} {
			out, err := exec.Command(python, "-c", script, name, strconv.Itoa(n)).Output()
			if err != nil {
				t.Fatal(err)
			}
			got, err := suite.PRFPlus(prf, []byte("key"), []byte("seed"), n)
			if err != nil || !bytes.Equal(got, unhex(t, strings.TrimSpace(string(out)))) {
				t.Errorf("%s, %d octets: differs, %v", name, n, err)
			}
		}
	}
	// RFC 7296 §2.13: the counter is one octet.
	if _, err := suite.PRFPlus(wire.PRFHMACSHA2256, []byte("key"), []byte("seed"), 255*32+1); err == nil {
		t.Error("256 blocks of prf+")
	}
	if _, err := suite.PRFPlus(wire.PRFAES128XCBC, []byte("key"), nil, 20); err == nil {
		t.Error("an unsupported prf")
	}
}

// The first captured request carries the hash of its source as strongSwan's
// kernel-libipsec fakes it, and of its destination as it is.
func TestNATDetectionOfARealMessage(t *testing.T) {
	m, err := wire.ParseMessage(readCapture(t, "testdata/strongswan-gcm.txt").messages[0])
	if err != nil {
		t.Fatal(err)
	}
	n, _ := wire.FindNotify(m.Payloads, wire.NotifyNATDetectionDestinationIP)
	hash := suite.NATDetection(m.Header.InitiatorSPI, m.Header.ResponderSPI, netip.MustParseAddrPort("192.0.2.2:500"))
	if !bytes.Equal(n.Data, hash[:]) {
		t.Errorf("got %x, want %x", hash, n.Data)
	}
	mapped := suite.NATDetection(m.Header.InitiatorSPI, m.Header.ResponderSPI, netip.MustParseAddrPort("[::ffff:192.0.2.2]:500"))
	if mapped != hash {
		t.Error("an IPv4 address mapped to IPv6 hashes differently")
	}
}

func TestDeriveRefusesUnsupported(t *testing.T) {
	good := mustIKE(t, "aes128-sha256-ecp256")
	for _, change := range []func(*suite.Proposal){
		func(p *suite.Proposal) { p.PRF = wire.PRFAES128CMAC },
		func(p *suite.Proposal) { p.KeyBits = 0 },
		func(p *suite.Proposal) { p.Integrity = wire.IntegrityAESCMAC96 },
	} {
		p := good
		change(&p)
		if _, err := suite.DeriveIKE(p, []byte("shared"), make([]byte, 32), make([]byte, 32), 1, 2); err == nil {
			t.Errorf("%+v has keys", p)
		}
	}
}
