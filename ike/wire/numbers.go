package wire

import "fmt"

// ExchangeType is the kind of exchange a message belongs to (RFC 7296 §3.1).
type ExchangeType uint8

const (
	ExchangeIKESAInit        ExchangeType = 34
	ExchangeIKEAuth          ExchangeType = 35
	ExchangeCreateChildSA    ExchangeType = 36
	ExchangeInformational    ExchangeType = 37
	ExchangeIKESessionResume ExchangeType = 38 // RFC 5723
	ExchangeIKEIntermediate  ExchangeType = 43 // RFC 9242
	ExchangeIKEFollowupKE    ExchangeType = 44 // RFC 9370
)

func (t ExchangeType) String() string {
	switch t {
	case ExchangeIKESAInit:
		return "IKE_SA_INIT"
	case ExchangeIKEAuth:
		return "IKE_AUTH"
	case ExchangeCreateChildSA:
		return "CREATE_CHILD_SA"
	case ExchangeInformational:
		return "INFORMATIONAL"
	case ExchangeIKESessionResume:
		return "IKE_SESSION_RESUME"
	case ExchangeIKEIntermediate:
		return "IKE_INTERMEDIATE"
	case ExchangeIKEFollowupKE:
		return "IKE_FOLLOWUP_KE"
	}
	if s, ok := v1ExchangeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("exchange(%d)", uint8(t))
}

// PayloadType names a payload (RFC 7296 §3.2).
type PayloadType uint8

const (
	PayloadNone     PayloadType = 0
	PayloadSA       PayloadType = 33
	PayloadKE       PayloadType = 34
	PayloadIDi      PayloadType = 35
	PayloadIDr      PayloadType = 36
	PayloadCERT     PayloadType = 37
	PayloadCERTREQ  PayloadType = 38
	PayloadAUTH     PayloadType = 39
	PayloadNonce    PayloadType = 40
	PayloadNotify   PayloadType = 41
	PayloadDelete   PayloadType = 42
	PayloadVendorID PayloadType = 43
	PayloadTSi      PayloadType = 44
	PayloadTSr      PayloadType = 45
	PayloadSK       PayloadType = 46
	PayloadCP       PayloadType = 47
	PayloadEAP      PayloadType = 48
	PayloadSKF      PayloadType = 53 // RFC 7383
)

// payloadNames are the notations of RFC 7296 §1.2 and §3.2.
var payloadNames = map[PayloadType]string{
	PayloadNone: "none", PayloadSA: "SA", PayloadKE: "KE", PayloadIDi: "IDi", PayloadIDr: "IDr",
	PayloadCERT: "CERT", PayloadCERTREQ: "CERTREQ", PayloadAUTH: "AUTH", PayloadNonce: "Nonce",
	PayloadNotify: "N", PayloadDelete: "D", PayloadVendorID: "V", PayloadTSi: "TSi", PayloadTSr: "TSr",
	PayloadSK: "SK", PayloadCP: "CP", PayloadEAP: "EAP", PayloadSKF: "SKF",
}

func (t PayloadType) String() string {
	if s, ok := payloadNames[t]; ok {
		return s
	}
	if s, ok := v1PayloadNames[t]; ok {
		return s
	}
	return fmt.Sprintf("payload(%d)", uint8(t))
}

// Protocol is the Security Protocol Identifier of proposals, notifies and
// deletes (RFC 7296 §3.3.1).
type Protocol uint8

const (
	ProtocolNone Protocol = 0
	ProtocolIKE  Protocol = 1
	ProtocolAH   Protocol = 2
	ProtocolESP  Protocol = 3
)

func (p Protocol) String() string {
	switch p {
	case ProtocolNone:
		return "none"
	case ProtocolIKE:
		return "IKE"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	}
	return fmt.Sprintf("protocol(%d)", uint8(p))
}

// IDType says what the data of an identity is (RFC 7296 §3.5).
type IDType uint8

const (
	IDIPv4Addr   IDType = 1
	IDFQDN       IDType = 2
	IDRFC822Addr IDType = 3
	IDIPv6Addr   IDType = 5
	IDDERASN1DN  IDType = 9
	IDDERASN1GN  IDType = 10
	IDKeyID      IDType = 11
	IDNull       IDType = 13 // RFC 7619
)

func (t IDType) String() string {
	switch t {
	case IDIPv4Addr:
		return "ID_IPV4_ADDR"
	case IDFQDN:
		return "ID_FQDN"
	case IDRFC822Addr:
		return "ID_RFC822_ADDR"
	case IDIPv6Addr:
		return "ID_IPV6_ADDR"
	case IDDERASN1DN:
		return "ID_DER_ASN1_DN"
	case IDDERASN1GN:
		return "ID_DER_ASN1_GN"
	case IDKeyID:
		return "ID_KEY_ID"
	case IDNull:
		return "ID_NULL"
	}
	return fmt.Sprintf("ID(%d)", uint8(t))
}

// AuthMethod says how the data of an AUTH payload was made (RFC 7296 §3.8).
type AuthMethod uint8

const (
	AuthRSASignature     AuthMethod = 1
	AuthSharedKey        AuthMethod = 2
	AuthDSSSignature     AuthMethod = 3
	AuthECDSASHA256P256  AuthMethod = 9  // RFC 4754
	AuthECDSASHA384P384  AuthMethod = 10 // RFC 4754
	AuthECDSASHA512P521  AuthMethod = 11 // RFC 4754
	AuthNull             AuthMethod = 13 // RFC 7619
	AuthDigitalSignature AuthMethod = 14 // RFC 7427
)

func (m AuthMethod) String() string {
	switch m {
	case AuthRSASignature:
		return "RSA signature"
	case AuthSharedKey:
		return "shared key"
	case AuthDSSSignature:
		return "DSS signature"
	case AuthECDSASHA256P256:
		return "ECDSA SHA-256 P-256"
	case AuthECDSASHA384P384:
		return "ECDSA SHA-384 P-384"
	case AuthECDSASHA512P521:
		return "ECDSA SHA-512 P-521"
	case AuthNull:
		return "null"
	case AuthDigitalSignature:
		return "digital signature"
	}
	return fmt.Sprintf("auth(%d)", uint8(m))
}

// CertEncoding is the form of a certificate (RFC 7296 §3.6).
type CertEncoding uint8

const (
	CertPKCS7X509     CertEncoding = 1
	CertX509Signature CertEncoding = 4
	CertCRL           CertEncoding = 7
	CertX509Attribute CertEncoding = 10
	CertHashURLX509   CertEncoding = 12
	CertHashURLBundle CertEncoding = 13
	CertOCSPContent   CertEncoding = 14 // RFC 4806
	CertRawPublicKey  CertEncoding = 15 // RFC 7670
)

// ConfigType is the kind of a CP payload (RFC 7296 §3.15).
type ConfigType uint8

const (
	ConfigRequest ConfigType = 1
	ConfigReply   ConfigType = 2
	ConfigSet     ConfigType = 3
	ConfigAck     ConfigType = 4
)

func (t ConfigType) String() string {
	switch t {
	case ConfigRequest:
		return "CFG_REQUEST"
	case ConfigReply:
		return "CFG_REPLY"
	case ConfigSet:
		return "CFG_SET"
	case ConfigAck:
		return "CFG_ACK"
	}
	return fmt.Sprintf("CFG(%d)", uint8(t))
}

// ConfigAttributeType names an attribute of a CP payload (RFC 7296 §3.15.1).
type ConfigAttributeType uint16

const (
	ConfigIP4Address    ConfigAttributeType = 1
	ConfigIP4Netmask    ConfigAttributeType = 2
	ConfigIP4DNS        ConfigAttributeType = 3
	ConfigIP4NBNS       ConfigAttributeType = 4
	ConfigIP4DHCP       ConfigAttributeType = 6
	ConfigAppVersion    ConfigAttributeType = 7
	ConfigIP6Address    ConfigAttributeType = 8
	ConfigIP6DNS        ConfigAttributeType = 10
	ConfigIP6DHCP       ConfigAttributeType = 12
	ConfigIP4Subnet     ConfigAttributeType = 13
	ConfigSupportedAttr ConfigAttributeType = 14
	ConfigIP6Subnet     ConfigAttributeType = 15
	ConfigDNSDomain     ConfigAttributeType = 25 // RFC 8598
)
