package wire

import "fmt"

// TransformType is what a transform chooses (RFC 7296 §3.3.2).
type TransformType uint8

const (
	TransformEncryption TransformType = 1
	TransformPRF        TransformType = 2
	TransformIntegrity  TransformType = 3
	TransformKE         TransformType = 4
	TransformESN        TransformType = 5
	TransformADDKE1     TransformType = 6 // RFC 9370, to 12 for ADDKE7
)

func (t TransformType) String() string {
	switch t {
	case TransformEncryption:
		return "encryption"
	case TransformPRF:
		return "prf"
	case TransformIntegrity:
		return "integrity"
	case TransformKE:
		return "key exchange"
	case TransformESN:
		return "esn"
	}
	if t >= TransformADDKE1 && t < TransformADDKE1+7 {
		return fmt.Sprintf("additional key exchange %d", t-TransformADDKE1+1)
	}
	return fmt.Sprintf("transform(%d)", uint8(t))
}

// Encryption is a transform of type 1.
type Encryption uint16

const (
	EncryptionDES              Encryption = 2
	Encryption3DES             Encryption = 3
	EncryptionCAST             Encryption = 6
	EncryptionBlowfish         Encryption = 7
	EncryptionNull             Encryption = 11
	EncryptionAESCBC           Encryption = 12
	EncryptionAESCTR           Encryption = 13
	EncryptionAESCCM8          Encryption = 14
	EncryptionAESCCM12         Encryption = 15
	EncryptionAESCCM16         Encryption = 16
	EncryptionAESGCM8          Encryption = 18
	EncryptionAESGCM12         Encryption = 19
	EncryptionAESGCM16         Encryption = 20
	EncryptionNullAESGMAC      Encryption = 21
	EncryptionCamelliaCBC      Encryption = 23
	EncryptionChaCha20Poly1305 Encryption = 28 // RFC 7634
)

// PRF is a transform of type 2.
type PRF uint16

const (
	PRFHMACMD5     PRF = 1
	PRFHMACSHA1    PRF = 2
	PRFAES128XCBC  PRF = 4
	PRFHMACSHA2256 PRF = 5
	PRFHMACSHA2384 PRF = 6
	PRFHMACSHA2512 PRF = 7
	PRFAES128CMAC  PRF = 8
)

// Integrity is a transform of type 3.
type Integrity uint16

const (
	IntegrityNone           Integrity = 0
	IntegrityHMACMD596      Integrity = 1
	IntegrityHMACSHA196     Integrity = 2
	IntegrityAESXCBC96      Integrity = 5
	IntegrityAESCMAC96      Integrity = 8
	IntegrityHMACSHA2256128 Integrity = 12
	IntegrityHMACSHA2384192 Integrity = 13
	IntegrityHMACSHA2512256 Integrity = 14
)

// Group is a key exchange method, a transform of type 4. GroupNone is none.
type Group uint16

const (
	GroupNone         Group = 0
	GroupMODP768      Group = 1
	GroupMODP1024     Group = 2
	GroupMODP1536     Group = 5
	GroupMODP2048     Group = 14
	GroupMODP3072     Group = 15
	GroupMODP4096     Group = 16
	GroupMODP6144     Group = 17
	GroupMODP8192     Group = 18
	GroupECP256       Group = 19
	GroupECP384       Group = 20
	GroupECP521       Group = 21
	GroupMODP1024S160 Group = 22
	GroupMODP2048S224 Group = 23
	GroupMODP2048S256 Group = 24
	GroupECP192       Group = 25
	GroupECP224       Group = 26
	GroupBrainpool256 Group = 28
	GroupBrainpool384 Group = 29
	GroupBrainpool512 Group = 30
	GroupX25519       Group = 31
	GroupX448         Group = 32
	GroupMLKEM512     Group = 35
	GroupMLKEM768     Group = 36
	GroupMLKEM1024    Group = 37
)

// groupNames are strongSwan's keywords, also of groups that Spindle refuses.
var groupNames = map[Group]string{
	GroupNone: "none", GroupMODP768: "modp768", GroupMODP1024: "modp1024", GroupMODP1536: "modp1536",
	GroupMODP2048: "modp2048", GroupMODP3072: "modp3072", GroupMODP4096: "modp4096",
	GroupMODP6144: "modp6144", GroupMODP8192: "modp8192", GroupECP256: "ecp256", GroupECP384: "ecp384",
	GroupECP521: "ecp521", GroupMODP1024S160: "modp1024s160", GroupMODP2048S224: "modp2048s224",
	GroupMODP2048S256: "modp2048s256", GroupECP192: "ecp192", GroupECP224: "ecp224",
	GroupBrainpool256: "ecp256bp", GroupBrainpool384: "ecp384bp", GroupBrainpool512: "ecp512bp",
	GroupX25519: "x25519", GroupX448: "x448",
	GroupMLKEM512: "mlkem512", GroupMLKEM768: "mlkem768", GroupMLKEM1024: "mlkem1024",
}

func (g Group) String() string {
	if s, ok := groupNames[g]; ok {
		return s
	}
	return fmt.Sprintf("group(%d)", uint16(g))
}

// Transforms of type 5.
const (
	ESNNo  uint16 = 0
	ESNYes uint16 = 1
)
