package wire

import "fmt"

// EAPCode is the kind of an EAP message (RFC 3748 §4).
type EAPCode = uint8

const (
	EAPRequest  EAPCode = 1
	EAPResponse EAPCode = 2
	EAPSuccess  EAPCode = 3
	EAPFailure  EAPCode = 4
)

// EAPType is the method of a request or response (RFC 3748 §5).
type EAPType uint8

const (
	EAPIdentity     EAPType = 1
	EAPNotification EAPType = 2
	EAPNak          EAPType = 3 // in responses: Data lists the types that the peer wants
	EAPMD5          EAPType = 4
	EAPTLS          EAPType = 13 // RFC 5216
	EAPMSCHAPv2     EAPType = 26 // draft-kamath-pppext-eap-mschapv2
)

func (t EAPType) String() string {
	switch t {
	case EAPIdentity:
		return "identity"
	case EAPNotification:
		return "notification"
	case EAPNak:
		return "nak"
	case EAPMD5:
		return "md5"
	case EAPTLS:
		return "tls"
	case EAPMSCHAPv2:
		return "mschapv2"
	}
	return fmt.Sprintf("eap(%d)", uint8(t))
}

// NewEAP makes a request or response of a method.
func NewEAP(code EAPCode, identifier uint8, method EAPType, data []byte) EAP {
	return EAP{Code: code, Identifier: identifier, Data: append([]byte{byte(method)}, data...)}
}

// Method splits the type from its data. A request or response has one, success
// and failure have neither (RFC 3748 §4.1, §4.2).
func (p EAP) Method() (EAPType, []byte, error) {
	switch {
	case p.Code < EAPRequest || p.Code > EAPFailure:
		return 0, nil, &Error{PayloadEAP, 0, fmt.Errorf("EAP code %d: %w", p.Code, ErrValue)}
	case p.Code >= EAPSuccess && len(p.Data) > 0:
		return 0, nil, &Error{PayloadEAP, payloadHeaderSize, fmt.Errorf("EAP result: %w", ErrTrailing)}
	case p.Code >= EAPSuccess:
		return 0, nil, nil
	case len(p.Data) == 0:
		return 0, nil, &Error{PayloadEAP, payloadHeaderSize, fmt.Errorf("EAP type: %w", ErrTruncated)}
	}
	return EAPType(p.Data[0]), p.Data[1:], nil
}
