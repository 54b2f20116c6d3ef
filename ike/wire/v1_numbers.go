package wire

import "fmt"

// Version1 is IKEv1: ISAKMP 1.0 (RFC 2408 §3.1).
const Version1 Version = 0x10

// Exchange types of IKEv1 (RFC 2408 §3.1, RFC 2409 appendix A). Their numbers
// are none of IKEv2's, so both versions share ExchangeType.
const (
	V1ExchangeBase          ExchangeType = 1
	V1ExchangeMainMode      ExchangeType = 2 // Identity Protection
	V1ExchangeAuthOnly      ExchangeType = 3
	V1ExchangeAggressive    ExchangeType = 4
	V1ExchangeInformational ExchangeType = 5
	V1ExchangeTransaction   ExchangeType = 6 // draft-dukes-ike-mode-cfg §3.1
	V1ExchangeQuickMode     ExchangeType = 32
	V1ExchangeNewGroup      ExchangeType = 33
)

// v1ExchangeNames are what IKEv1 calls its exchanges.
var v1ExchangeNames = map[ExchangeType]string{
	V1ExchangeBase: "BASE", V1ExchangeMainMode: "MAIN_MODE", V1ExchangeAuthOnly: "AUTH_ONLY",
	V1ExchangeAggressive: "AGGRESSIVE", V1ExchangeInformational: "INFORMATIONAL_V1",
	V1ExchangeTransaction: "TRANSACTION", V1ExchangeQuickMode: "QUICK_MODE", V1ExchangeNewGroup: "NEW_GROUP",
}

// Payload types of IKEv1 (RFC 2408 §3.1, RFC 3947 §8). No number is one of
// IKEv2's either.
const (
	PayloadV1SA            PayloadType = 1
	PayloadV1Proposal      PayloadType = 2 // only inside SA
	PayloadV1Transform     PayloadType = 3 // only inside a proposal
	PayloadV1KE            PayloadType = 4
	PayloadV1ID            PayloadType = 5
	PayloadV1Cert          PayloadType = 6
	PayloadV1CertRequest   PayloadType = 7
	PayloadV1Hash          PayloadType = 8
	PayloadV1Signature     PayloadType = 9
	PayloadV1Nonce         PayloadType = 10
	PayloadV1Notify        PayloadType = 11
	PayloadV1Delete        PayloadType = 12
	PayloadV1VendorID      PayloadType = 13
	PayloadV1Attributes    PayloadType = 14 // draft-dukes-ike-mode-cfg §3.2
	PayloadV1NATD          PayloadType = 20 // RFC 3947
	PayloadV1NATOA         PayloadType = 21
	PayloadV1NATDDraft     PayloadType = 130 // draft-ietf-ipsec-nat-t-ike-02 and -03
	PayloadV1NATOADraft    PayloadType = 131
	PayloadV1CiscoFragment PayloadType = 132
)

// v1PayloadNames are the notations of RFC 2409 §3.2 and RFC 3947.
var v1PayloadNames = map[PayloadType]string{
	PayloadV1SA: "SA", PayloadV1Proposal: "P", PayloadV1Transform: "T", PayloadV1KE: "KE", PayloadV1ID: "ID",
	PayloadV1Cert: "CERT", PayloadV1CertRequest: "CR", PayloadV1Hash: "HASH", PayloadV1Signature: "SIG",
	PayloadV1Nonce: "NONCE", PayloadV1Notify: "N", PayloadV1Delete: "D", PayloadV1VendorID: "VID",
	PayloadV1Attributes: "ATTR", PayloadV1NATD: "NAT-D", PayloadV1NATOA: "NAT-OA",
	PayloadV1NATDDraft: "NAT-D", PayloadV1NATOADraft: "NAT-OA", PayloadV1CiscoFragment: "FRAG",
}

// Flags of the IKEv1 header (RFC 2408 §3.1).
const (
	V1FlagEncrypted Flags = 1 << 0 // everything after the header is encrypted
	V1FlagCommit    Flags = 1 << 1 // the responder wants to confirm that its SA stands
	V1FlagAuthOnly  Flags = 1 << 2
)

// V1NotifyType is the Notify Message Type of IKEv1 (RFC 2408 §3.14.1, RFC 2407 §4.6.3).
type V1NotifyType uint16

const (
	V1NotifyInvalidPayloadType     V1NotifyType = 1
	V1NotifyDOINotSupported        V1NotifyType = 2
	V1NotifySituationNotSupported  V1NotifyType = 3
	V1NotifyInvalidCookie          V1NotifyType = 4
	V1NotifyInvalidMajorVersion    V1NotifyType = 5
	V1NotifyInvalidMinorVersion    V1NotifyType = 6
	V1NotifyInvalidExchangeType    V1NotifyType = 7
	V1NotifyInvalidFlags           V1NotifyType = 8
	V1NotifyInvalidMessageID       V1NotifyType = 9
	V1NotifyInvalidProtocolID      V1NotifyType = 10
	V1NotifyInvalidSPI             V1NotifyType = 11
	V1NotifyInvalidTransformID     V1NotifyType = 12
	V1NotifyAttributesNotSupported V1NotifyType = 13
	V1NotifyNoProposalChosen       V1NotifyType = 14
	V1NotifyBadProposalSyntax      V1NotifyType = 15
	V1NotifyPayloadMalformed       V1NotifyType = 16
	V1NotifyInvalidKeyInformation  V1NotifyType = 17
	V1NotifyInvalidIDInformation   V1NotifyType = 18
	V1NotifyInvalidCertEncoding    V1NotifyType = 19
	V1NotifyInvalidCertificate     V1NotifyType = 20
	V1NotifyInvalidCertAuthority   V1NotifyType = 22
	V1NotifyInvalidHashInformation V1NotifyType = 23
	V1NotifyAuthenticationFailed   V1NotifyType = 24
	V1NotifyInvalidSignature       V1NotifyType = 25
	V1NotifyUnequalPayloadLengths  V1NotifyType = 30
	V1NotifyConnected              V1NotifyType = 16384 // the answer to the commit bit
	V1NotifyResponderLifetime      V1NotifyType = 24576
	V1NotifyReplayStatus           V1NotifyType = 24577
	V1NotifyInitialContact         V1NotifyType = 24578
	V1NotifyRUThere                V1NotifyType = 36136 // RFC 3706 §5.2
	V1NotifyRUThereAck             V1NotifyType = 36137
)

var v1NotifyNames = map[V1NotifyType]string{
	V1NotifyInvalidPayloadType: "INVALID-PAYLOAD-TYPE", V1NotifyDOINotSupported: "DOI-NOT-SUPPORTED",
	V1NotifySituationNotSupported: "SITUATION-NOT-SUPPORTED", V1NotifyInvalidCookie: "INVALID-COOKIE",
	V1NotifyInvalidMajorVersion: "INVALID-MAJOR-VERSION", V1NotifyInvalidMinorVersion: "INVALID-MINOR-VERSION",
	V1NotifyInvalidExchangeType: "INVALID-EXCHANGE-TYPE", V1NotifyInvalidFlags: "INVALID-FLAGS",
	V1NotifyInvalidMessageID: "INVALID-MESSAGE-ID", V1NotifyInvalidProtocolID: "INVALID-PROTOCOL-ID",
	V1NotifyInvalidSPI: "INVALID-SPI", V1NotifyInvalidTransformID: "INVALID-TRANSFORM-ID",
	V1NotifyAttributesNotSupported: "ATTRIBUTES-NOT-SUPPORTED", V1NotifyNoProposalChosen: "NO-PROPOSAL-CHOSEN",
	V1NotifyBadProposalSyntax: "BAD-PROPOSAL-SYNTAX", V1NotifyPayloadMalformed: "PAYLOAD-MALFORMED",
	V1NotifyInvalidKeyInformation: "INVALID-KEY-INFORMATION", V1NotifyInvalidIDInformation: "INVALID-ID-INFORMATION",
	V1NotifyInvalidCertEncoding: "INVALID-CERT-ENCODING", V1NotifyInvalidCertificate: "INVALID-CERTIFICATE",
	V1NotifyInvalidCertAuthority: "INVALID-CERT-AUTHORITY", V1NotifyInvalidHashInformation: "INVALID-HASH-INFORMATION",
	V1NotifyAuthenticationFailed: "AUTHENTICATION-FAILED", V1NotifyInvalidSignature: "INVALID-SIGNATURE",
	V1NotifyUnequalPayloadLengths: "UNEQUAL-PAYLOAD-LENGTHS",
	V1NotifyConnected:             "CONNECTED", V1NotifyResponderLifetime: "RESPONDER-LIFETIME",
	V1NotifyReplayStatus: "REPLAY-STATUS", V1NotifyInitialContact: "INITIAL-CONTACT",
	V1NotifyRUThere: "R-U-THERE", V1NotifyRUThereAck: "R-U-THERE-ACK",
}

func (t V1NotifyType) String() string {
	if s, ok := v1NotifyNames[t]; ok {
		return s
	}
	return fmt.Sprintf("notify(%d)", uint16(t))
}

// IsError reports whether the type says that something went wrong (RFC 2408 §3.14.1).
func (t V1NotifyType) IsError() bool { return t > 0 && t < 16384 }

// Identity types that only IKEv1 has (RFC 2407 §4.6.2.1); the others have the
// numbers of IDType. They are the selectors of quick mode.
const (
	V1IDIPv4Subnet IDType = 4
	V1IDIPv6Subnet IDType = 6
	V1IDIPv4Range  IDType = 7
	V1IDIPv6Range  IDType = 8
)

// DOIIPsec is the domain of interpretation of IPsec (RFC 2407 §4.2), and
// SituationIdentityOnly the only situation without labels.
const (
	DOIISAKMP             uint32 = 0
	DOIIPsec              uint32 = 1
	SituationIdentityOnly uint32 = 1
)
