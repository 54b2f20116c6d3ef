package esp_test

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

	"spindle/datapath/esp"
	"spindle/sadb"
)

// vector is one AES-GCM case in the shape that ESP gives it.
type vector struct {
	key, nonce, aad, plain, sealed []byte
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// check opens the vector as an ESP packet, and then spoiled in every byte.
func (v vector) check(t *testing.T) {
	t.Helper()
	suite := map[int]string{16: "aes128gcm16", 24: "aes192gcm16", 32: "aes256gcm16"}[len(v.key)]
	sa := &sadb.SA{
		SPI:   sadb.SPI(binary.BigEndian.Uint32(v.aad)),
		Suite: suite,
		Key:   append(bytes.Clone(v.key), v.nonce[:4]...),
		ESN:   len(v.aad) == 12,
	}
	seq := uint64(binary.BigEndian.Uint32(v.aad[4:]))
	if sa.ESN {
		seq = binary.BigEndian.Uint64(v.aad[4:])
	}
	packet := binary.BigEndian.AppendUint32(bytes.Clone(v.aad[:4]), uint32(seq))
	packet = append(append(packet, v.nonce[4:]...), v.sealed...)
	plain, ok := esp.Unprotect(sa, packet, seq)
	if !ok || !bytes.Equal(plain, v.plain) {
		t.Fatalf("open: %v %x, want %x", ok, plain, v.plain)
	}
	for i := 8; i < len(packet); i++ {
		packet[i] ^= 0x40
		if plain, ok := esp.Unprotect(sa, packet, seq); ok || !bytes.Equal(plain, make([]byte, len(plain))) {
			t.Fatalf("byte %d spoiled: open %v, dst %x", i, ok, plain)
		}
		packet[i] ^= 0x40
	}
	if _, ok := esp.Unprotect(sa, packet, seq^1); ok {
		t.Fatal("the wrong sequence number was accepted")
	}
}

func TestVectorsOfDraftMcgrewGCMTest01(t *testing.T) {
	data, err := os.ReadFile("testdata/mcgrew-gcm-test-01.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 5 {
			continue
		}
		cases++
		vector{unhex(t, f[0]), unhex(t, f[1]), unhex(t, f[2]), unhex(t, f[3]), unhex(t, f[4])}.check(t)
	}
	if cases != 14 {
		t.Errorf("%d cases, want 14", cases)
	}
}

func TestWycheproofAESGCM(t *testing.T) {
	data, err := fs.ReadFile(wycheproof.TestVectors, "aes_gcm_test.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		TestGroups []struct {
			IVSize, TagSize int
			Tests           []struct{ Key, IV, AAD, Msg, CT, Tag, Result string }
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, g := range file.TestGroups {
		for _, c := range g.Tests {
			aad := len(c.AAD) / 2
			if g.IVSize != 96 || g.TagSize != 128 || c.Result != "valid" || aad != 8 && aad != 12 {
				continue // not the shape of RFC 4106
			}
			cases++
			vector{unhex(t, c.Key), unhex(t, c.IV), unhex(t, c.AAD), unhex(t, c.Msg), unhex(t, c.CT+c.Tag)}.check(t)
		}
	}
	if cases == 0 {
		t.Error("no case has the shape of RFC 4106")
	}
}
