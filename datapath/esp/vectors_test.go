package esp_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

// check opens the vector as an ESP packet, and then spoiled in every byte. With
// AES-GCM, a shorter ICV is the beginning of the whole one (RFC 4106 §6).
func (v vector) check(t *testing.T) {
	t.Helper()
	key := fmt.Sprintf("aes%dgcm", len(v.key)*8)
	for _, icv := range []int{16, 12, 8} {
		v.open(t, fmt.Sprint(key, icv), v.sealed[:len(v.sealed)-16+icv])
	}
	v.open(t, fmt.Sprint(key, 16, std), v.sealed)
}

func (v vector) open(t *testing.T, suite string, sealed []byte) {
	t.Helper()
	suite, c := implementation(t, suite)
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
	packet = append(append(packet, v.nonce[4:]...), sealed...)
	openVector(t, c, sa, packet, seq, v.plain)
	if _, ok := c.Unprotect(sa, packet, seq^1); ok {
		t.Fatalf("%s: the wrong sequence number was accepted", suite)
	}
}

// openVector opens a packet, and then spoiled in every byte behind the header.
func openVector(t *testing.T, c *esp.Crypto, sa *sadb.SA, packet []byte, seq uint64, want []byte) {
	t.Helper()
	plain, ok := c.Unprotect(sa, packet, seq)
	if !ok || !bytes.Equal(plain, want) {
		t.Fatalf("%s: open: %v %x, want %x", sa.Suite, ok, plain, want)
	}
	for i := 8; i < len(packet); i++ {
		packet[i] ^= 0x40
		if plain, ok := c.Unprotect(sa, packet, seq); ok || !bytes.Equal(plain, make([]byte, len(plain))) {
			t.Fatalf("%s: byte %d spoiled: open %v, dst %x", sa.Suite, i, ok, plain)
		}
		packet[i] ^= 0x40
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

// wycheproofGroup is what the test vector files have in common.
type wycheproofGroup struct {
	IVSize, TagSize, KeySize int
	Tests                    []struct{ Key, IV, AAD, Msg, CT, Tag, Result string }
}

func wycheproofFile(t *testing.T, name string) []wycheproofGroup {
	t.Helper()
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ TestGroups []wycheproofGroup }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.TestGroups
}

// aeadCases runs f for the cases of a file that have the shape of ESP.
func aeadCases(t *testing.T, name string, f func(v vector)) {
	t.Helper()
	cases := 0
	for _, g := range wycheproofFile(t, name) {
		for _, c := range g.Tests {
			aad := len(c.AAD) / 2
			if g.IVSize != 96 || g.TagSize != 128 || c.Result != "valid" || aad != 8 && aad != 12 {
				continue // not the shape of RFC 4106
			}
			cases++
			f(vector{unhex(t, c.Key), unhex(t, c.IV), unhex(t, c.AAD), unhex(t, c.Msg), unhex(t, c.CT+c.Tag)})
		}
	}
	if cases == 0 {
		t.Errorf("%s: no case has the shape of RFC 4106", name)
	}
}

func TestWycheproofAESGCM(t *testing.T) {
	aeadCases(t, "aes_gcm_test.json", func(v vector) { v.check(t) })
}

func TestWycheproofChaCha20Poly1305(t *testing.T) {
	aeadCases(t, "chacha20_poly1305_test.json", func(v vector) { v.open(t, "chacha20poly1305", v.sealed) })
}

// The HMACs, over packets that are not encrypted: SPI and sequence number are
// the message's first eight bytes.
func TestWycheproofHMAC(t *testing.T) {
	for _, c := range []struct {
		hash      string
		key, most int
	}{{"sha1", 20, 12}, {"sha256", 32, 16}, {"sha384", 48, 24}, {"sha512", 64, 32}} {
		cases := 0
		for _, g := range wycheproofFile(t, "hmac_"+c.hash+"_test.json") {
			for _, v := range g.Tests {
				msg, tag := unhex(t, v.Msg), unhex(t, v.Tag)
				if len(v.Key)/2 != c.key || len(tag) < c.most || len(msg) < 8 || v.Result != "valid" {
					continue // truncated to less than RFC 4868 does, or no packet
				}
				cases++
				sa := &sadb.SA{SPI: sadb.SPI(binary.BigEndian.Uint32(msg)), Suite: "null-" + c.hash, Key: unhex(t, v.Key)}
				openVector(t, nil, sa, append(bytes.Clone(msg), tag[:c.most]...), 0, msg[8:])
			}
		}
		if cases == 0 {
			t.Errorf("%s: no case has the shape of ESP", c.hash)
		}
	}
}

// RFC 2202: its messages are packets of which the first eight bytes are SPI and
// sequence number.
func TestVectorsOfRFC2202(t *testing.T) {
	for _, c := range []struct{ suite, key, msg, mac string }{
		{"null-md5", strings.Repeat("0b", 16), hex.EncodeToString([]byte("Hi There")), "9294727a3638bb1c13f48ef8"},
		{"null-md5", strings.Repeat("aa", 16), strings.Repeat("dd", 50), "56be34521d144c88dbb8c733"},
		{"null-sha1", strings.Repeat("0b", 20), hex.EncodeToString([]byte("Hi There")), "b617318655057264e28bc0b6"},
		{"null-sha1", strings.Repeat("aa", 20), strings.Repeat("dd", 50), "125d7342b9ac11cd91a39af4"},
	} {
		msg := unhex(t, c.msg)
		sa := &sadb.SA{SPI: sadb.SPI(binary.BigEndian.Uint32(msg)), Suite: c.suite, Key: unhex(t, c.key)}
		openVector(t, nil, sa, append(msg, unhex(t, c.mac)...), 0, unhex(t, c.msg)[8:])
	}
}

// RFC 7634 appendix A: the whole ESP packet.
func TestVectorOfRFC7634(t *testing.T) {
	sa := &sadb.SA{SPI: 0x01020304, Suite: "chacha20poly1305", Key: append(counting(0x80, 32), 0xa0, 0xa1, 0xa2, 0xa3)}
	packet := unhex(t, "01020304000000051011121314151617"+
		"24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c614ee8099d52844eb61aa95dfab4c02f7"+
		"2aa71e7c4c4f64c9befe2facc638e8f3cbec163fac469b502773f6fb94e664da9165b82829f641e0"+
		"76aaa8266b7fb0f7b11b369907e1ad43")
	plain := unhex(t, "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec100007362708090a0b0c0d0e0f"+
		"101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363701020204")
	openVector(t, nil, sa, packet, 5, plain)
}

func counting(from byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = from + byte(i)
	}
	return b
}

// RFC 3686 §6 and RFC 3602 §4, with an ICV from the standard library.
func TestVectorsOfRFC3686AndRFC3602(t *testing.T) {
	single := []byte("Single block msg")
	for name, c := range map[string]struct {
		suite, key, iv, sealed string
		plain                  []byte
	}{
		"RFC 3686 #1": {"aes128ctr", "ae6852f8121067cc4bf7a5765577f39e00000030", "0000000000000000", "e4095d4fb7a7b3792d6175a3261311b8", single},
		"RFC 3686 #2": {"aes128ctr", "7e24067817fae0d743d6ce1f32539163006cb6db", "c0543b59da48d90b",
			"5104a106168a72d9790d41ee8edad388eb2e1efc46da57c8fce630df9141be28", counting(0, 32)},
		"RFC 3686 #3": {"aes128ctr", "7691be035e5020a8ac6e618529f9a0dc00e0017b", "27777f3f4a1786f0",
			"c1cf48a89f2ffdd9cf4652e9efdb72d74540a42bde6d7836d59a5ceaaef3105325b2072f", counting(0, 36)},
		"RFC 3686 #4": {"aes192ctr", "16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb7851500000048", "36733c147d6d93cb", "4b55384fe259c9c84e7935a003cbe928", single},
		"RFC 3686 #7": {"aes256ctr", "776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c10400000060", "db5672c97aa8f0b2", "145ad01dbf824ec7560863dc71e3e0c0", single},
		"RFC 3602 #1": {"aes128", "06a9214036b8a15b512e03d534120006", "3dafba429d9eb430b422da802c9fac41", "e353779c1079aeb82708942dbe77181a", single},
		"RFC 3602 #2": {"aes128", "c286696d887c9aa0611bbb3e2025a45a", "562e17996d093d28ddb3ba695a2e6f58",
			"d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1", counting(0, 32)},
	} {
		t.Run(name, func(t *testing.T) {
			integrity := counting(1, 32)
			sa := &sadb.SA{SPI: 0x1000, Suite: c.suite + "-sha256", Key: append(unhex(t, c.key), integrity...)}
			packet := append(unhex(t, "0000100000000001"+c.iv), unhex(t, c.sealed)...)
			mac := hmac.New(sha256.New, integrity)
			mac.Write(packet)
			openVector(t, nil, sa, append(packet, mac.Sum(nil)[:16]...), 1, c.plain)
		})
	}
}

// AES-GMAC by the words of RFC 4543 §3, with the standard library's AES-GCM; for
// a second implementation see TestScapyBothWays.
func TestGMACIsGCMOverThePacket(t *testing.T) {
	for _, esn := range []bool{false, true} {
		const seq = 7<<32 | 0x01020304
		sa := &sadb.SA{SPI: 0x11223344, Suite: "aes192gmac", Key: counting(9, 28), ESN: esn}
		plain := counting(0x70, 44)
		sealed, err := (*esp.Crypto)(nil).Protect(sa, plain, seq)
		if err != nil {
			t.Fatal(err)
		}
		covered := unhex(t, "1122334401020304")
		if esn {
			covered = unhex(t, "112233440000000701020304")
		}
		iv := sealed[8:16]
		covered = append(append(covered, iv...), plain...)
		block, _ := aes.NewCipher(sa.Key[:24])
		aead, _ := cipher.NewGCM(block)
		want := aead.Seal(nil, append(bytes.Clone(sa.Key[24:]), iv...), nil, covered)
		if !bytes.Equal(sealed[16:], append(bytes.Clone(plain), want...)) {
			t.Fatalf("esn %v: %x, want ICV %x", esn, sealed, want)
		}
		openVector(t, nil, sa, sealed, seq, plain)
	}
}
