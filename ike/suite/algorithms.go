package suite

import "spindle/ike/wire"

// protocols says where an encryption algorithm may be used.
type protocols uint8

const (
	forIKE protocols = 1 << iota
	forESP
)

// encryption is one encryption algorithm with one key length.
type encryption struct {
	keyword string
	aliases []string
	id      wire.Encryption
	bits    uint16 // of the Key Length attribute; 0 for a fixed length, which "MUST NOT" have one (RFC 7296 §3.3.5)
	key     int    // octets
	salt    int    // octets of KEYMAT after the key, for modes whose nonce is salt and IV (RFC 4106 §8.1, RFC 3686 §5.1)
	icv     int    // octets, 0 for a mode that needs an integrity algorithm
	use     protocols
	weak    string // what allow_weak must name, empty for a strong one
}

func (e encryption) aead() bool { return e.icv > 0 }

// keySize is the KEYMAT that the algorithm takes, in octets.
func (e encryption) keySize() int { return e.key + e.salt }

// The tables stand in the order in which a refusal lists them, weak algorithms
// last (BEHAVIOUR O3).
var encryptions = []encryption{
	{"aes128gcm16", []string{"aes128gcm128", "aes128gcm"}, wire.EncryptionAESGCM16, 128, 16, 4, 16, forIKE | forESP, ""},
	{"aes192gcm16", []string{"aes192gcm128", "aes192gcm"}, wire.EncryptionAESGCM16, 192, 24, 4, 16, forIKE | forESP, ""},
	{"aes256gcm16", []string{"aes256gcm128", "aes256gcm"}, wire.EncryptionAESGCM16, 256, 32, 4, 16, forIKE | forESP, ""},
	{"aes128gcm12", []string{"aes128gcm96"}, wire.EncryptionAESGCM12, 128, 16, 4, 12, forIKE | forESP, ""},
	{"aes192gcm12", []string{"aes192gcm96"}, wire.EncryptionAESGCM12, 192, 24, 4, 12, forIKE | forESP, ""},
	{"aes256gcm12", []string{"aes256gcm96"}, wire.EncryptionAESGCM12, 256, 32, 4, 12, forIKE | forESP, ""},
	{"aes128gcm8", []string{"aes128gcm64"}, wire.EncryptionAESGCM8, 128, 16, 4, 8, forIKE | forESP, ""},
	{"aes192gcm8", []string{"aes192gcm64"}, wire.EncryptionAESGCM8, 192, 24, 4, 8, forIKE | forESP, ""},
	{"aes256gcm8", []string{"aes256gcm64"}, wire.EncryptionAESGCM8, 256, 32, 4, 8, forIKE | forESP, ""},
	{"chacha20poly1305", nil, wire.EncryptionChaCha20Poly1305, 0, 32, 4, 16, forIKE | forESP, ""},
	{"aes128", []string{"aes"}, wire.EncryptionAESCBC, 128, 16, 0, 0, forIKE | forESP, ""},
	{"aes192", nil, wire.EncryptionAESCBC, 192, 24, 0, 0, forIKE | forESP, ""},
	{"aes256", nil, wire.EncryptionAESCBC, 256, 32, 0, 0, forIKE | forESP, ""},
	{"aes128ctr", nil, wire.EncryptionAESCTR, 128, 16, 4, 0, forIKE | forESP, ""},
	{"aes192ctr", nil, wire.EncryptionAESCTR, 192, 24, 4, 0, forIKE | forESP, ""},
	{"aes256ctr", nil, wire.EncryptionAESCTR, 256, 32, 4, 0, forIKE | forESP, ""},
	{"aes128gmac", nil, wire.EncryptionNullAESGMAC, 128, 16, 4, 16, forESP, ""},
	{"aes192gmac", nil, wire.EncryptionNullAESGMAC, 192, 24, 4, 16, forESP, ""},
	{"aes256gmac", nil, wire.EncryptionNullAESGMAC, 256, 32, 4, 16, forESP, ""},
	{"3des", nil, wire.Encryption3DES, 0, 24, 0, 0, forIKE | forESP, "3des"},
	{"des", nil, wire.EncryptionDES, 0, 8, 0, 0, forIKE | forESP, "des"},
	{"null", nil, wire.EncryptionNull, 0, 0, 0, 0, forESP, "null"},
}

// integrity is an HMAC with its truncation (RFC 4868, RFC 2403, RFC 2404), and
// the PRF that goes with it when a proposal names none.
type integrity struct {
	keyword string
	aliases []string
	id      wire.Integrity
	prf     wire.PRF
	key     int // octets
	icv     int // octets
	weak    string
}

var integrities = []integrity{
	{"sha256", []string{"sha2_256"}, wire.IntegrityHMACSHA2256128, wire.PRFHMACSHA2256, 32, 16, ""},
	{"sha384", []string{"sha2_384"}, wire.IntegrityHMACSHA2384192, wire.PRFHMACSHA2384, 48, 24, ""},
	{"sha512", []string{"sha2_512"}, wire.IntegrityHMACSHA2512256, wire.PRFHMACSHA2512, 64, 32, ""},
	{"sha1", []string{"sha"}, wire.IntegrityHMACSHA196, wire.PRFHMACSHA1, 20, 12, "sha1"},
	{"md5", nil, wire.IntegrityHMACMD596, wire.PRFHMACMD5, 16, 12, "md5"},
}

// named is a table row that is no more than a keyword and a number.
type named struct {
	keyword string
	alias   string
	id      uint16
	weak    string
}

var prfs = []named{
	{"prfsha256", "", uint16(wire.PRFHMACSHA2256), ""},
	{"prfsha384", "", uint16(wire.PRFHMACSHA2384), ""},
	{"prfsha512", "", uint16(wire.PRFHMACSHA2512), ""},
	{"prfsha1", "", uint16(wire.PRFHMACSHA1), "sha1"},
	{"prfmd5", "", uint16(wire.PRFHMACMD5), "md5"},
}

var groups = []named{
	{"x25519", "curve25519", uint16(wire.GroupX25519), ""},
	{"x448", "curve448", uint16(wire.GroupX448), ""},
	{"ecp256", "", uint16(wire.GroupECP256), ""},
	{"ecp384", "", uint16(wire.GroupECP384), ""},
	{"ecp521", "", uint16(wire.GroupECP521), ""},
	{"modp2048", "", uint16(wire.GroupMODP2048), ""},
	{"modp3072", "", uint16(wire.GroupMODP3072), ""},
	{"modp4096", "", uint16(wire.GroupMODP4096), ""},
	{"modp6144", "", uint16(wire.GroupMODP6144), ""},
	{"modp8192", "", uint16(wire.GroupMODP8192), ""},
	{"modp1536", "", uint16(wire.GroupMODP1536), "modp1536"},
	{"modp1024", "", uint16(wire.GroupMODP1024), "modp1024"},
	{"modp768", "", uint16(wire.GroupMODP768), "modp768"},
}

// kems have a public value for each role and come only after a classical key
// exchange, so that a session is never weaker than before (RFC 9370 §1.2).
var kems = []named{
	{"mlkem768", "", uint16(wire.GroupMLKEM768), ""},
	{"mlkem1024", "", uint16(wire.GroupMLKEM1024), ""},
}

// absent are words of strongSwan for weak algorithms that no permission brings back.
var absent = []string{
	"blowfish128", "blowfish192", "blowfish256", "cast128", "md5_128", "sha1_160",
	"modp1024s160", "ecp192", "ecp224",
}

// offeredNames show what a peer offered of algorithms outside the tables.
var offeredNames = map[wire.TransformType]map[uint16]string{
	wire.TransformEncryption: {
		uint16(wire.EncryptionCAST): "cast", uint16(wire.EncryptionBlowfish): "blowfish",
		uint16(wire.EncryptionAESCTR): "aesctr", uint16(wire.EncryptionAESCCM8): "aesccm8",
		uint16(wire.EncryptionAESCCM12): "aesccm12", uint16(wire.EncryptionAESCCM16): "aesccm16",
		uint16(wire.EncryptionNullAESGMAC): "aesgmac", uint16(wire.EncryptionCamelliaCBC): "camellia",
	},
	wire.TransformPRF: {
		uint16(wire.PRFAES128XCBC): "prfaesxcbc", uint16(wire.PRFAES128CMAC): "prfaescmac",
	},
	wire.TransformIntegrity: {
		uint16(wire.IntegrityNone): "none", uint16(wire.IntegrityAESXCBC96): "aesxcbc",
		uint16(wire.IntegrityAESCMAC96): "aescmac",
	},
}

func findEncryption(id wire.Encryption, bits uint16) (encryption, bool) {
	for _, e := range encryptions {
		if e.id == id && e.bits == bits {
			return e, true
		}
	}
	return encryption{}, false
}

func findIntegrity(id wire.Integrity) (integrity, bool) {
	for _, a := range integrities {
		if a.id == id {
			return a, true
		}
	}
	return integrity{}, false
}

func findNamed(table []named, id uint16) (named, bool) {
	for _, n := range table {
		if n.id == id {
			return n, true
		}
	}
	return named{}, false
}
