package esp_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// scapyCase is what testdata/scapy_esp.py reads.
type scapyCase struct {
	Do        string `json:"do"`
	Key       string `json:"key"`
	Cipher    string `json:"cipher"`
	Auth      string `json:"auth"`
	Integrity int    `json:"integrity"` // bytes of the key at its end
	ICV       int    `json:"icv"`
	SPI       uint32 `json:"spi"`
	Seq       uint64 `json:"seq"`
	ESN       bool   `json:"esn"`
	Encap     bool   `json:"encap"`
	Transport bool   `json:"transport"`
	V6        bool   `json:"v6"`
	Src       string `json:"src"`
	Dst       string `json:"dst"`
	Packet    string `json:"packet"`
}

// scapyPython finds an interpreter that has scapy: the distribution's before
// whatever a version manager put in front of it.
func scapyPython(t *testing.T) string {
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(python, "-c", "import scapy.layers.ipsec, cryptography").Run() == nil {
			return python
		}
	}
	t.Skip("no python3 with scapy and cryptography: apt-get install python3-scapy python3-cryptography")
	return ""
}

func runScapy(t *testing.T, python string, cases []scapyCase) []string {
	t.Helper()
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/scapy_esp.py")
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("scapy: %v\n%s", err, stderr.Bytes())
	}
	var answers []string
	if err := json.Unmarshal(output, &answers); err != nil || len(answers) != len(cases) {
		t.Fatalf("scapy answered %d of %d cases: %v", len(answers), len(cases), err)
	}
	return answers
}

// scapyCiphers are scapy's names, by the shortest part of our keywords that tells.
var scapyCiphers = []struct{ part, name string }{
	{"gcm", "AES-GCM"}, {"gmac", "AES-NULL-GMAC"}, {"chacha", "CHACHA20-POLY1305"}, {"ctr", "AES-CTR"},
	{"3des", "3DES"}, {"des", "DES"}, {"null", "NULL"}, {"aes", "AES-CBC"},
}

var scapyAuths = map[string]struct {
	name string
	key  int
}{
	"sha256": {"SHA2-256-128", 32}, "sha384": {"SHA2-384-192", 48}, "sha512": {"SHA2-512-256", 64},
	"sha1": {"HMAC-SHA1-96", 20}, "md5": {"HMAC-MD5-96", 16},
}

func caseOf(s esp.Suite, sa *sadb.SA, do string, seq uint64, b []byte) scapyCase {
	encryption, hash, _ := strings.Cut(strings.TrimSuffix(s.Keyword, std), "-")
	i := slices.IndexFunc(scapyCiphers, func(c struct{ part, name string }) bool { return strings.Contains(encryption, c.part) })
	auth := scapyAuths[hash]
	return scapyCase{
		Do: do, Key: hex.EncodeToString(sa.Key), Cipher: scapyCiphers[i].name, Auth: auth.name, Integrity: auth.key, ICV: s.ICVLen,
		SPI: uint32(sa.SPI), Seq: seq, ESN: sa.ESN, Encap: sa.Encap, Transport: sa.Mode == sadb.Transport,
		V6: sa.Local.Addr().Is6(), Src: sa.Local.Addr().String(), Dst: sa.Remote.Addr().String(),
		Packet: hex.EncodeToString(b),
	}
}

// TestScapyBothWays lets scapy open what Seal made, and Open what scapy made:
// every suite, IPv4 and IPv6 inside and outside, with and without ESN and UDP
// encapsulation. One process serves all cases.
func TestScapyBothWays(t *testing.T) {
	python := scapyPython(t)
	var cases []scapyCase
	var checks []func(t *testing.T, answer string)
	for _, s := range suites() {
		for shape := range 16 {
			if hmac := strings.Contains(s.Keyword, "-"); hmac && shape%3 != len(s.Keyword)%3 {
				continue // all of them differ in nothing but algorithms
			}
			v6in, v6out, encap, esn := shape&1 != 0, shape&2 != 0, shape&4 != 0, shape&8 != 0
			if esn && strings.Contains(s.Keyword, "-") {
				continue // scapy knows ESN with AES-GCM only
			}
			seq := uint64(1000 + shape)
			if esn {
				seq |= 3 << 32
			}
			p := newPair(t, s.Keyword, func(sa *sadb.SA) {
				sa.ESN, sa.Encap, sa.Sequence = esn, encap, seq-1
				sa.Local, sa.Remote = endpoints(v6out)
			})
			p.in.SetTop(seq - 5)
			clear := inner(v6in, 61+shape, 0)
			name := fmt.Sprintf("%s in6=%v out6=%v encap=%v esn=%v", s.Keyword, v6in, v6out, encap, esn)
			cases = append(cases, caseOf(s, &p.sa, "open", seq, p.seal(t, clear)))
			checks = append(checks, func(t *testing.T, answer string) {
				if answer != hex.EncodeToString(clear) {
					t.Errorf("%s: scapy opened %s, want %x", name, answer, clear)
				}
			})
			cases = append(cases, caseOf(s, &p.sa, "seal", seq, clear))
			checks = append(checks, func(t *testing.T, answer string) { openScapy(t, name, p, clear, answer) })
		}
	}
	for i, answer := range runScapy(t, python, cases) {
		checks[i](t, answer)
	}
}

// TestScapyBothWaysInTransportMode does the same with packets between the
// gateways themselves: IPv4 options, IPv6 extension headers, UDP encapsulation.
func TestScapyBothWaysInTransportMode(t *testing.T) {
	python := scapyPython(t)
	var cases []scapyCase
	var checks []func(t *testing.T, answer string)
	for k, suite := range []string{"aes128gcm16", "aes256gcm8", "chacha20poly1305", "aes192ctr-sha384", "3des-md5", "aes256gmac"} {
		s, _ := esp.Find(suite)
		for i, c := range headers {
			for _, encap := range []bool{false, true} {
				if encap && c.v6 && len(c.clear) > 0 {
					continue // what tells scapy to look for ESP would overwrite its headers
				}
				p := newPair(t, suite, transport(c.v6, encap))
				clear := between(i, 60+k)
				cases = append(cases, caseOf(s, &p.sa, "open", 1, p.seal(t, clear)))
				checks = append(checks, func(t *testing.T, answer string) {
					if answer != hex.EncodeToString(clear) {
						t.Errorf("%s %s: scapy opened %s, want %x", suite, c.name, answer, clear)
					}
				})
				cases = append(cases, caseOf(s, &p.sa, "seal", 9, clear))
				checks = append(checks, func(t *testing.T, answer string) {
					if strings.HasPrefix(answer, "error") {
						t.Fatalf("%s %s: scapy: %s", suite, c.name, answer)
					}
					sealed := unhex(t, answer)
					var h packet.Header
					if v := h.ParseIP(sealed); v != packet.Pass {
						t.Fatalf("%s %s: scapy's outer header: %v %x", suite, c.name, v, sealed)
					}
					body := sealed[h.Payload:]
					if encap {
						body = body[packet.UDPLen:]
					}
					dst := make([]byte, len(sealed))
					n, v := p.in.Open(dst, sealed, &h, body, 1)
					if v != packet.Pass || !bytes.Equal(dst[:n], clear) {
						t.Errorf("%s %s: opened %v %x, want %x", suite, c.name, v, dst[:n], clear)
					}
				})
			}
		}
	}
	for i, answer := range runScapy(t, python, cases) {
		checks[i](t, answer)
	}
}

func openScapy(t *testing.T, name string, p *pair, clear []byte, answer string) {
	if strings.HasPrefix(answer, "error") {
		t.Errorf("%s: scapy: %s", name, answer)
		return
	}
	sealed := unhex(t, answer)
	var h packet.Header
	if v := h.ParseIP(sealed); v != packet.Pass {
		t.Errorf("%s: scapy's outer header: %v", name, v)
		return
	}
	body := sealed[h.Payload:]
	if p.sa.Encap { // its UDP checksum is 0, which RFC 6935 lets us receive over IPv6 as well
		var v packet.Verdict
		if body, v = packet.UDPPayload(sealed, &h); v != packet.Pass {
			t.Errorf("%s: scapy's UDP header: %v", name, v)
			return
		}
	}
	got, v := p.open(body, h.TOS)
	if v != packet.Pass || !bytes.Equal(got, clear) {
		t.Errorf("%s: opened %v %x, want %x", name, v, got, clear)
	}
}
