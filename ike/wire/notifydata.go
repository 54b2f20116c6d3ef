package wire

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Data of notifications. Each type here makes its Notify and is read by a
// Parse function of the same name, which takes what a peer sent and names in
// its error the notification and the octet.

// notifyReader reads the data of n; close says what was wrong with it.
func notifyReader(n Notify) reader {
	r := newReader(n.Data)
	r.payload = PayloadNotify
	return r
}

// close demands that all data was read.
func (r *reader) close(n Notify) error {
	if r.more() {
		r.fail("%d octets: %w", len(r.s), ErrTrailing)
	}
	if r.err != nil {
		return fmt.Errorf("%v: %w", n.Type, r.err)
	}
	return nil
}

// address reads an address of 4 or 16 octets.
func (r *reader) address(size int, field string) netip.Addr {
	a, _ := netip.AddrFromSlice(r.bytes(size, field))
	return a
}

// AdditionalAddress is an address under which the sender can also be reached
// (RFC 4555 §4.2.2).
type AdditionalAddress netip.Addr

func (a AdditionalAddress) Notify() Notify {
	addr := netip.Addr(a).Unmap()
	n := Notify{Type: NotifyAdditionalIP6Address, Data: addr.AsSlice()}
	if addr.Is4() {
		n.Type = NotifyAdditionalIP4Address
	}
	return n
}

// ParseAdditionalAddress reads ADDITIONAL_IP4_ADDRESS and ADDITIONAL_IP6_ADDRESS.
func ParseAdditionalAddress(n Notify) (AdditionalAddress, error) {
	size := 16
	if n.Type == NotifyAdditionalIP4Address {
		size = 4
	}
	r := notifyReader(n)
	a := r.address(size, "address")
	if err := r.close(n); err != nil {
		return AdditionalAddress{}, err
	}
	return AdditionalAddress(a), nil
}

// Bounds on COOKIE2: "the data ... MUST be between 8 and 64 octets" (RFC 4555 §4.2.5).
const (
	MinCookie2 = 8
	MaxCookie2 = 64
)

// Cookie2 is random data that a peer returns to prove that it can be reached
// (RFC 4555 §3.7).
type Cookie2 []byte

func (c Cookie2) Notify() Notify { return Notify{Type: NotifyCookie2, Data: c} }

// ParseCookie2 reads COOKIE2.
func ParseCookie2(n Notify) (Cookie2, error) {
	b, err := opaque(n, MinCookie2, MaxCookie2)
	return Cookie2(b), err
}

// NoNATsAllowed are the addresses and ports that the sender used, to prove that
// no NAT is between (RFC 4555 §4.2.6).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                  Source IP Address (4 or 16)                  ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                Destination IP Address (4 or 16)               ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|           Source Port         |        Destination Port       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type NoNATsAllowed struct{ Source, Destination netip.AddrPort }

func (p NoNATsAllowed) Notify() Notify {
	n := Notify{Type: NotifyNoNATsAllowed}
	n.Data = append(n.Data, p.Source.Addr().Unmap().AsSlice()...)
	n.Data = append(n.Data, p.Destination.Addr().Unmap().AsSlice()...)
	n.Data = binary.BigEndian.AppendUint16(n.Data, p.Source.Port())
	n.Data = binary.BigEndian.AppendUint16(n.Data, p.Destination.Port())
	return n
}

// ParseNoNATsAllowed reads NO_NATS_ALLOWED.
func ParseNoNATsAllowed(n Notify) (NoNATsAllowed, error) {
	r := notifyReader(n)
	size := 4
	if len(n.Data) > 2*4+4 {
		size = 16
	}
	source, destination := r.address(size, "source address"), r.address(size, "destination address")
	from, to := r.uint16("source port"), r.uint16("destination port")
	if err := r.close(n); err != nil {
		return NoNATsAllowed{}, err
	}
	return NoNATsAllowed{netip.AddrPortFrom(source, from), netip.AddrPortFrom(destination, to)}, nil
}

// Bounds on QCD_TOKEN (RFC 6290 §4.1).
const (
	MinQCDToken = 16
	MaxQCDToken = 128
)

// QCDToken proves, when shown in the clear, that its maker has lost the IKE SA
// for which it once sent it (RFC 6290 §4.1).
type QCDToken []byte

func (t QCDToken) Notify() Notify { return Notify{Type: NotifyQCDToken, Data: t} }

// ParseQCDToken reads QUICK_CRASH_DETECTION.
func ParseQCDToken(n Notify) (QCDToken, error) {
	b, err := opaque(n, MinQCDToken, MaxQCDToken)
	return QCDToken(b), err
}

// opaque is the data of n, whose length is bounded.
func opaque(n Notify, low, high int) ([]byte, error) {
	if len(n.Data) < low || len(n.Data) > high {
		r := notifyReader(n)
		r.fail("%d octets, not %d to %d: %w", len(n.Data), low, high, ErrLength)
		return nil, fmt.Errorf("%v: %w", n.Type, r.err)
	}
	return n.Data, nil
}

// AuthLifetime is after how many seconds the peer must have authenticated again
// (RFC 4478 §3).
type AuthLifetime uint32

func (s AuthLifetime) Notify() Notify { return number(NotifyAuthLifetime, uint32(s)) }

// ParseAuthLifetime reads AUTH_LIFETIME.
func ParseAuthLifetime(n Notify) (AuthLifetime, error) {
	v, err := parseNumber(n)
	return AuthLifetime(v), err
}

// WindowSize is how many requests the sender keeps state for at once (RFC 7296 §2.3).
type WindowSize uint32

func (w WindowSize) Notify() Notify { return number(NotifySetWindowSize, uint32(w)) }

// ParseWindowSize reads SET_WINDOW_SIZE, which is never zero.
func ParseWindowSize(n Notify) (WindowSize, error) {
	v, err := parseNumber(n)
	if err == nil && v == 0 {
		err = fmt.Errorf("%v: %w", n.Type, &Error{PayloadNotify, 0, fmt.Errorf("window of 0: %w", ErrValue)})
	}
	return WindowSize(v), err
}

func number(t NotifyType, v uint32) Notify {
	return Notify{Type: t, Data: binary.BigEndian.AppendUint32(nil, v)}
}

func parseNumber(n Notify) (uint32, error) {
	r := notifyReader(n)
	v := r.uint32("number")
	return v, r.close(n)
}

// PPKIDType is the kind of a PPK identity (RFC 8784 §5.1).
type PPKIDType uint8

const (
	PPKIDOpaque PPKIDType = 1
	PPKIDFixed  PPKIDType = 2
)

// PPKIdentity names a post-quantum preshared key (RFC 8784 §5.1).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|  PPK_ID Type  |                    PPK_ID Data                ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type PPKIdentity struct {
	Type PPKIDType
	Data []byte
}

func (p PPKIdentity) Notify() Notify {
	return Notify{Type: NotifyPPKIdentity, Data: append([]byte{byte(p.Type)}, p.Data...)}
}

// ParsePPKIdentity reads PPK_IDENTITY. The responder's, which only confirms, is
// empty: it reads as the zero value.
func ParsePPKIdentity(n Notify) (PPKIdentity, error) {
	if len(n.Data) == 0 {
		return PPKIdentity{}, nil
	}
	r := notifyReader(n)
	p := PPKIdentity{Type: PPKIDType(r.uint8("PPK_ID type"))}
	if r.err == nil && !r.more() {
		r.fail("PPK_ID data: %w", ErrTruncated)
	}
	p.Data = r.rest()
	if err := r.close(n); err != nil {
		return PPKIdentity{}, err
	}
	return p, nil
}
