package gcm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"spindle/datapath/esp/gcm"
)

// vector is a published case; plain is nil when the tag must be refused.
type vector struct {
	name                           string
	key, nonce, aad, sealed, plain []byte
}

func (v vector) check(t *testing.T, p *gcm.Pool) {
	t.Helper()
	c, err := p.New(v.key, v.nonce[:4])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	iv, got := binary.BigEndian.Uint64(v.nonce[4:]), make([]byte, len(v.sealed))
	if v.plain == nil {
		if c.Open(got, v.sealed, iv, v.aad) || !bytes.Equal(got, make([]byte, len(got))) {
			t.Errorf("%s: opens, or leaves %x", v.name, got)
		}
		return
	}
	if !c.Seal(got, v.plain, iv, v.aad) || !bytes.Equal(got, v.sealed) {
		t.Errorf("%s: sealed %x, want %x", v.name, got, v.sealed)
	}
	if !c.Open(got, v.sealed, iv, v.aad) || !bytes.Equal(got[:len(v.plain)], v.plain) {
		t.Errorf("%s: opened %x, want %x", v.name, got, v.plain)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Trim(s, "-"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checkAll(t *testing.T, v gcm.Variant, all []vector, want int) {
	t.Helper()
	if len(all) != want {
		t.Errorf("%d cases, want %d", len(all), want)
	}
	p := gcm.Pool{Variant: v}
	for _, one := range all {
		one.check(t, &p)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func TestNISTCAVP(t *testing.T) { each(t, nistCAVP) }

func nistCAVP(t *testing.T, v gcm.Variant) {
	data, err := os.ReadFile("testdata/nist-cavp-gcm.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 7 || strings.HasPrefix(line, "#") {
			continue
		}
		one := vector{name: line, key: unhex(t, f[1]), nonce: unhex(t, f[2]), aad: unhex(t, f[3]), sealed: unhex(t, strings.Trim(f[4], "-")+f[5])}
		if f[6] != "FAIL" {
			one.plain = unhex(t, f[6])
		}
		all = append(all, one)
	}
	checkAll(t, v, all, 900)
}

// TestWycheproof takes what has the shape of RFC 4106: a nonce of 12 bytes, a
// whole tag, and at most one block of AAD.
func TestWycheproof(t *testing.T) { each(t, wycheproofCases) }

func wycheproofCases(t *testing.T, v gcm.Variant) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			IVSize, TagSize int
			Tests           []struct{ Comment, Key, IV, AAD, Msg, CT, Tag, Result string }
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	var all []vector
	for _, g := range file.TestGroups {
		for _, c := range g.Tests {
			if g.IVSize != 96 || g.TagSize != 128 || len(c.AAD) > 2*gcm.MaxAAD {
				continue
			}
			one := vector{name: c.Comment, key: unhex(t, c.Key), nonce: unhex(t, c.IV), aad: unhex(t, c.AAD), sealed: unhex(t, c.CT+c.Tag)}
			if c.Result == "valid" {
				one.plain = unhex(t, c.Msg)
			}
			all = append(all, one)
		}
	}
	checkAll(t, v, all, 158)
}
