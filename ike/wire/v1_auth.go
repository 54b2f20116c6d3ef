package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// V1KE is the Key Exchange payload (RFC 2408 §3.7): nothing but its data. The
// group is that of the transform.
type V1KE struct{ Data []byte }

func (V1KE) PayloadType() PayloadType { return PayloadV1KE }

func readV1KE(r *reader) Payload {
	if r.err == nil && r.s.Empty() {
		r.fail("no key exchange data: %w", ErrTruncated)
	}
	return V1KE{r.rest()}
}

func (p V1KE) appendBody(dst []byte) ([]byte, error) {
	if len(p.Data) == 0 {
		return nil, fmt.Errorf("no key exchange data: %w", ErrValue)
	}
	return append(dst, p.Data...), nil
}

// Bounds on nonces: RFC 2409 §5, "the length of nonce payload MUST be between 8
// and 256 bytes inclusive".
const (
	V1MinNonce = 8
	V1MaxNonce = 256
)

// V1Nonce is the Nonce payload (RFC 2408 §3.13).
type V1Nonce struct{ Data []byte }

func (V1Nonce) PayloadType() PayloadType { return PayloadV1Nonce }

func readV1Nonce(r *reader) Payload {
	if n := len(r.s); n < V1MinNonce || n > V1MaxNonce {
		r.fail("nonce of %d octets: %w", n, ErrLength)
	}
	return V1Nonce{r.rest()}
}

func (p V1Nonce) appendBody(dst []byte) ([]byte, error) {
	if len(p.Data) < V1MinNonce || len(p.Data) > V1MaxNonce {
		return nil, fmt.Errorf("nonce of %d octets: %w", len(p.Data), ErrLength)
	}
	return append(dst, p.Data...), nil
}

// V1ID is the Identification payload (RFC 2407 §4.6.2): who a peer is in phase
// 1, and one side's selector in phase 2.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   ID Type     |  Protocol ID  |             Port              |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                     Identification Data                       ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1ID struct {
	Type     IDType
	Protocol uint8  // of IP, 0 is any; in phase 1 it is 0 or UDP
	Port     uint16 // 0 is any; in phase 1 it is 0 or 500
	Data     []byte
}

func (V1ID) PayloadType() PayloadType { return PayloadV1ID }

func readV1ID(r *reader) Payload {
	p := V1ID{Type: IDType(r.uint8("ID type")), Protocol: r.uint8("protocol"), Port: r.uint16("port")}
	p.Data = r.rest()
	return p
}

func (p V1ID) appendBody(dst []byte) ([]byte, error) {
	dst = append(dst, byte(p.Type), p.Protocol)
	dst = binary.BigEndian.AppendUint16(dst, p.Port)
	return append(dst, p.Data...), nil
}

// V1Cert is the Certificate payload (RFC 2408 §3.9). CertX509Signature has the
// same number in both versions, CertPKCS7X509 as well.
type V1Cert struct {
	Encoding CertEncoding
	Data     []byte
}

func (V1Cert) PayloadType() PayloadType { return PayloadV1Cert }

func (p V1Cert) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Encoding)), p.Data...), nil
}

// V1CertRequest is the Certificate Request payload (RFC 2408 §3.10). Authority
// is the distinguished name of one, empty for any.
type V1CertRequest struct {
	Encoding  CertEncoding
	Authority []byte
}

func (V1CertRequest) PayloadType() PayloadType { return PayloadV1CertRequest }

func (p V1CertRequest) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Encoding)), p.Authority...), nil
}

// V1Hash is the Hash payload (RFC 2408 §3.11): nothing but its data.
type V1Hash struct{ Data []byte }

func (V1Hash) PayloadType() PayloadType { return PayloadV1Hash }

func readV1Hash(r *reader) Payload {
	if r.err == nil && r.s.Empty() {
		r.fail("no hash: %w", ErrTruncated)
	}
	return V1Hash{r.rest()}
}

func (p V1Hash) appendBody(dst []byte) ([]byte, error) {
	if len(p.Data) == 0 {
		return nil, fmt.Errorf("no hash: %w", ErrValue)
	}
	return append(dst, p.Data...), nil
}

// V1Signature is the Signature payload (RFC 2408 §3.12): nothing but its data.
type V1Signature struct{ Data []byte }

func (V1Signature) PayloadType() PayloadType { return PayloadV1Signature }

func (p V1Signature) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }

// V1NATD is the NAT discovery payload: the hash of one end's address and port
// (RFC 3947 §3.2). Draft takes the number of the drafts 02 and 03.
type V1NATD struct {
	Draft bool
	Hash  []byte
}

func (p V1NATD) PayloadType() PayloadType {
	if p.Draft {
		return PayloadV1NATDDraft
	}
	return PayloadV1NATD
}

func (p V1NATD) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Hash...), nil }

// V1NATOA is the NAT original address payload, one end's address as that end
// itself sees it (RFC 3947 §5.2).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   ID Type     |   RESERVED    |           RESERVED            |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                  IPv4 (4 octets) or IPv6 (16)                 ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type V1NATOA struct {
	Draft bool
	Addr  netip.Addr
}

func (p V1NATOA) PayloadType() PayloadType {
	if p.Draft {
		return PayloadV1NATOADraft
	}
	return PayloadV1NATOA
}

func readV1NATOA(r *reader, draft bool) Payload {
	at := r.offset()
	t := IDType(r.uint8("ID type"))
	r.bytes(3, "reserved")
	size := map[IDType]int{IDIPv4Addr: 4, IDIPv6Addr: 16}[t]
	if r.err == nil && size == 0 {
		r.failAt(at, "original address of type %v: %w", t, ErrValue)
	}
	addr, _ := netip.AddrFromSlice(r.bytes(size, "address"))
	return V1NATOA{draft, addr}
}

func (p V1NATOA) appendBody(dst []byte) ([]byte, error) {
	switch {
	case p.Addr.Is4():
		dst = append(dst, byte(IDIPv4Addr), 0, 0, 0)
	case p.Addr.Is6():
		dst = append(dst, byte(IDIPv6Addr), 0, 0, 0)
	default:
		return nil, fmt.Errorf("original address %v: %w", p.Addr, ErrValue)
	}
	return append(dst, p.Addr.AsSlice()...), nil
}
