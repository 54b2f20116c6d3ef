package suite

import (
	"fmt"

	"spindle/ike/wire"
)

// Attributes of a phase 1 transform (RFC 2409 appendix A).
const (
	v1Encryption   uint16 = 1
	v1Hash         uint16 = 2
	v1Auth         uint16 = 3
	v1Group        uint16 = 4
	v1LifeType     uint16 = 11
	v1LifeDuration uint16 = 12
	v1KeyLength    uint16 = 14
)

// Attributes of a phase 2 transform (RFC 2407 §4.5, RFC 4304 §3).
const (
	v1ESPLifeType     uint16 = 1
	v1ESPLifeDuration uint16 = 2
	v1ESPGroup        uint16 = 3
	v1ESPMode         uint16 = 4
	v1ESPAuth         uint16 = 5
	v1ESPKeyLength    uint16 = 6
	v1ESPESN          uint16 = 11
)

const (
	v1Seconds   uint16 = 1
	v1Kilobytes uint16 = 2
)

// v1KeyIKE is the only transform of ISAKMP: KEY_IKE (RFC 2407 §4.4.2).
const v1KeyIKE uint8 = 1

// V1Auth is how phase 1 is authenticated (RFC 2409 appendix A,
// draft-beaulieu-ike-xauth-02 §7.2, draft-ietf-ipsec-isakmp-hybrid-auth-05 §3.2).
type V1Auth uint16

const (
	V1AuthPSK           V1Auth = 1
	V1AuthDSS           V1Auth = 2
	V1AuthRSA           V1Auth = 3
	V1AuthHybridInitRSA V1Auth = 64221 // the responder signs, the initiator is asked for user and password
	V1AuthHybridRespRSA V1Auth = 64222
	V1AuthXAuthInitPSK  V1Auth = 65001 // the initiator is asked for user and password as well
	V1AuthXAuthRespPSK  V1Auth = 65002
	V1AuthXAuthInitRSA  V1Auth = 65005
	V1AuthXAuthRespRSA  V1Auth = 65006
)

// Hashes and encryption algorithms of phase 1 (RFC 2409 appendix A).
const (
	v1HashMD5            uint16 = 1
	v1HashSHA1           uint16 = 2
	v1HashSHA256         uint16 = 4
	v1HashSHA384         uint16 = 5
	v1HashSHA512         uint16 = 6
	v1EncryptionDES      uint16 = 1
	v1Encryption3DES     uint16 = 5
	v1EncryptionAES      uint16 = 7
	v1EncryptionCamellia uint16 = 8
)

var v1AuthNames = map[V1Auth]string{
	V1AuthPSK: "psk", V1AuthDSS: "dss", V1AuthRSA: "rsa",
	V1AuthHybridInitRSA: "hybrid", V1AuthHybridRespRSA: "hybrid of the responder",
	V1AuthXAuthInitPSK: "psk and xauth", V1AuthXAuthRespPSK: "psk and xauth of the responder",
	V1AuthXAuthInitRSA: "rsa and xauth", V1AuthXAuthRespRSA: "rsa and xauth of the responder",
}

func (a V1Auth) String() string {
	if s, ok := v1AuthNames[a]; ok {
		return s
	}
	return fmt.Sprintf("auth(%d)", uint16(a))
}

// PSK says that the pre-shared key is in SKEYID (RFC 2409 §5).
func (a V1Auth) PSK() bool {
	return a == V1AuthPSK || a == V1AuthXAuthInitPSK || a == V1AuthXAuthRespPSK
}

// XAuth says that the initiator is asked for user and password after phase 1.
func (a V1Auth) XAuth() bool {
	return a == V1AuthXAuthInitPSK || a == V1AuthXAuthInitRSA || a == V1AuthHybridInitRSA
}

// Signs says whether one side proves itself by a signature instead of a hash.
func (a V1Auth) Signs(initiator bool) bool {
	switch a {
	case V1AuthRSA, V1AuthXAuthInitRSA, V1AuthXAuthRespRSA:
		return true
	case V1AuthHybridInitRSA:
		return !initiator
	case V1AuthHybridRespRSA:
		return initiator
	}
	return false
}

// v1Pair is a number of IKEv1 and the one of IKEv2 for the same algorithm.
type v1Pair struct{ v1, v2 uint16 }

// v1Encryptions and v1Hashes are those of phase 1. Those of phase 2 have
// IKEv2's numbers for encryption.
var v1Encryptions = []v1Pair{
	{v1EncryptionDES, uint16(wire.EncryptionDES)},
	{v1Encryption3DES, uint16(wire.Encryption3DES)},
	{v1EncryptionAES, uint16(wire.EncryptionAESCBC)},
	{v1EncryptionCamellia, uint16(wire.EncryptionCamelliaCBC)},
}

var v1Hashes = []v1Pair{
	{v1HashMD5, uint16(wire.PRFHMACMD5)},
	{v1HashSHA1, uint16(wire.PRFHMACSHA1)},
	{v1HashSHA256, uint16(wire.PRFHMACSHA2256)},
	{v1HashSHA384, uint16(wire.PRFHMACSHA2384)},
	{v1HashSHA512, uint16(wire.PRFHMACSHA2512)},
}

// v1Integrities are the authentication algorithms of ESP (RFC 2407 §4.5, RFC 4868 §3).
var v1Integrities = []v1Pair{
	{1, uint16(wire.IntegrityHMACMD596)},
	{2, uint16(wire.IntegrityHMACSHA196)},
	{5, uint16(wire.IntegrityHMACSHA2256128)},
	{6, uint16(wire.IntegrityHMACSHA2384192)},
	{7, uint16(wire.IntegrityHMACSHA2512256)},
	{9, uint16(wire.IntegrityAESXCBC96)},
}

func toV1(table []v1Pair, v2 uint16) uint16 {
	for _, p := range table {
		if p.v2 == v2 {
			return p.v1
		}
	}
	return 0
}

func fromV1(table []v1Pair, v1 uint16) uint16 {
	for _, p := range table {
		if p.v1 == v1 {
			return p.v2
		}
	}
	return 0
}

// V1Mode is the encapsulation mode of a phase 2 transform (RFC 2407 §4.5, RFC
// 3947 §5.1 and the numbers of its drafts).
type V1Mode uint16

const (
	V1ModeTunnel            V1Mode = 1
	V1ModeTransport         V1Mode = 2
	V1ModeUDPTunnel         V1Mode = 3
	V1ModeUDPTransport      V1Mode = 4
	V1ModeUDPTunnelDraft    V1Mode = 61443
	V1ModeUDPTransportDraft V1Mode = 61444
)

// Transport says that the mode is a transport mode.
func (m V1Mode) Transport() bool {
	return m == V1ModeTransport || m == V1ModeUDPTransport || m == V1ModeUDPTransportDraft
}

// Encap says that the mode is UDP-encapsulated.
func (m V1Mode) Encap() bool { return m > V1ModeTransport }

// V1ChooseMode is the number of a mode as the peer's NAT traversal has it.
func V1ChooseMode(transport, encap, draft bool) V1Mode {
	m := V1ModeTunnel
	if transport {
		m = V1ModeTransport
	}
	switch {
	case encap && draft:
		return m + V1ModeUDPTunnelDraft - V1ModeTunnel
	case encap:
		return m + V1ModeUDPTunnel - V1ModeTunnel
	}
	return m
}

func (m V1Mode) String() string {
	switch m {
	case V1ModeTunnel:
		return "tunnel"
	case V1ModeTransport:
		return "transport"
	case V1ModeUDPTunnel, V1ModeUDPTunnelDraft:
		return "tunnel in UDP"
	case V1ModeUDPTransport, V1ModeUDPTransportDraft:
		return "transport in UDP"
	}
	return fmt.Sprintf("mode(%d)", uint16(m))
}
