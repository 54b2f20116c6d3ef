package suite

import "spindle/ike/wire"

// encryption is one encryption algorithm with one key length.
type encryption struct {
	keyword string
	aliases []string
	id      wire.Encryption
	bits    uint16
	salt    int // octets of KEYMAT after the key; only combined modes have one (RFC 4106 §8.1)
	icv     int // octets, 0 for a mode that needs an integrity algorithm
	esp     bool
}

func (e encryption) aead() bool { return e.icv > 0 }

// keySize is the KEYMAT that the algorithm takes, in octets.
func (e encryption) keySize() int { return int(e.bits)/8 + e.salt }

// The tables stand in the order in which a refusal lists them. What is weak
// (DES, 3DES, MD5, SHA-1, MODP up to 1536) is not in them.
var encryptions = []encryption{
	{"aes128gcm16", []string{"aes128gcm128", "aes128gcm"}, wire.EncryptionAESGCM16, 128, 4, 16, true},
	{"aes192gcm16", []string{"aes192gcm128", "aes192gcm"}, wire.EncryptionAESGCM16, 192, 4, 16, true},
	{"aes256gcm16", []string{"aes256gcm128", "aes256gcm"}, wire.EncryptionAESGCM16, 256, 4, 16, true},
	{"aes128gcm12", []string{"aes128gcm96"}, wire.EncryptionAESGCM12, 128, 4, 12, false},
	{"aes192gcm12", []string{"aes192gcm96"}, wire.EncryptionAESGCM12, 192, 4, 12, false},
	{"aes256gcm12", []string{"aes256gcm96"}, wire.EncryptionAESGCM12, 256, 4, 12, false},
	{"aes128gcm8", []string{"aes128gcm64"}, wire.EncryptionAESGCM8, 128, 4, 8, false},
	{"aes192gcm8", []string{"aes192gcm64"}, wire.EncryptionAESGCM8, 192, 4, 8, false},
	{"aes256gcm8", []string{"aes256gcm64"}, wire.EncryptionAESGCM8, 256, 4, 8, false},
	{"aes128", []string{"aes"}, wire.EncryptionAESCBC, 128, 0, 0, true},
	{"aes192", nil, wire.EncryptionAESCBC, 192, 0, 0, true},
	{"aes256", nil, wire.EncryptionAESCBC, 256, 0, 0, true},
}

// integrity is an HMAC of RFC 4868 with its truncation, and the PRF that goes
// with it when a proposal names none.
type integrity struct {
	keyword string
	aliases []string
	id      wire.Integrity
	prf     wire.PRF
	key     int // octets
	icv     int // octets
}

var integrities = []integrity{
	{"sha256", []string{"sha2_256"}, wire.IntegrityHMACSHA2256128, wire.PRFHMACSHA2256, 32, 16},
	{"sha384", []string{"sha2_384"}, wire.IntegrityHMACSHA2384192, wire.PRFHMACSHA2384, 48, 24},
	{"sha512", []string{"sha2_512"}, wire.IntegrityHMACSHA2512256, wire.PRFHMACSHA2512, 64, 32},
}

// named is a table row that is no more than a keyword and a number.
type named struct {
	keyword string
	alias   string
	id      uint16
}

var prfs = []named{
	{"prfsha256", "", uint16(wire.PRFHMACSHA2256)},
	{"prfsha384", "", uint16(wire.PRFHMACSHA2384)},
	{"prfsha512", "", uint16(wire.PRFHMACSHA2512)},
}

var groups = []named{
	{"x25519", "curve25519", uint16(wire.GroupX25519)},
	{"ecp256", "", uint16(wire.GroupECP256)},
	{"ecp384", "", uint16(wire.GroupECP384)},
	{"ecp521", "", uint16(wire.GroupECP521)},
	{"modp2048", "", uint16(wire.GroupMODP2048)},
	{"modp3072", "", uint16(wire.GroupMODP3072)},
	{"modp4096", "", uint16(wire.GroupMODP4096)},
}

// weak are words that strongSwan knows and Spindle refuses (BEHAVIOUR O3).
var weak = []string{
	"des", "3des", "blowfish128", "blowfish256", "cast128", "null", "md5", "sha1", "sha", "md5_128", "sha1_160",
	"prfmd5", "prfsha1", "modp768", "modp1024", "modp1536", "modp1024s160", "ecp192", "ecp224",
}

// offeredNames show what a peer offered of algorithms outside the tables.
var offeredNames = map[wire.TransformType]map[uint16]string{
	wire.TransformEncryption: {
		uint16(wire.EncryptionDES): "des", uint16(wire.Encryption3DES): "3des", uint16(wire.EncryptionCAST): "cast",
		uint16(wire.EncryptionBlowfish): "blowfish", uint16(wire.EncryptionNull): "null",
		uint16(wire.EncryptionAESCTR): "aesctr", uint16(wire.EncryptionAESCCM8): "aesccm8",
		uint16(wire.EncryptionAESCCM12): "aesccm12", uint16(wire.EncryptionAESCCM16): "aesccm16",
		uint16(wire.EncryptionNullAESGMAC): "aesgmac", uint16(wire.EncryptionCamelliaCBC): "camellia",
		uint16(wire.EncryptionChaCha20Poly1305): "chacha20poly1305",
	},
	wire.TransformPRF: {
		uint16(wire.PRFHMACMD5): "prfmd5", uint16(wire.PRFHMACSHA1): "prfsha1",
		uint16(wire.PRFAES128XCBC): "prfaesxcbc", uint16(wire.PRFAES128CMAC): "prfaescmac",
	},
	wire.TransformIntegrity: {
		uint16(wire.IntegrityNone): "none", uint16(wire.IntegrityHMACMD596): "md5",
		uint16(wire.IntegrityHMACSHA196): "sha1", uint16(wire.IntegrityAESXCBC96): "aesxcbc",
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
