package wire

import (
	"fmt"
	"net/netip"
)

// gatewayType says how a gateway is named (RFC 5685 §8.2).
const (
	gatewayIPv4 = 1
	gatewayIPv6 = 2
	gatewayFQDN = 3
)

// Gateway is where a client is sent to, or was sent from: an address or a name
// (RFC 5685 §6).
type Gateway struct {
	Addr netip.Addr
	Name string // a fully qualified domain name, when there is no Addr
}

// Redirect sends a client to another gateway. Nonce is in IKE_SA_INIT the nonce
// of the request that it answers, which proves that its sender saw that; later
// it is empty (RFC 5685 §3, §5).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| GW Ident Type |  GW Ident Len |                               ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+   New Responder GW Identity   ~
//	~                                                               |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                        Nonce Data                             ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type Redirect struct {
	To    Gateway
	Nonce []byte
}

// Notify makes REDIRECT. The error is a gateway that no message can name.
func (p Redirect) Notify() (Notify, error) {
	data, err := p.To.append(nil)
	if err != nil {
		return Notify{}, err
	}
	return Notify{Type: NotifyRedirect, Data: append(data, p.Nonce...)}, nil
}

// ParseRedirect reads REDIRECT. The caller compares the nonce with its own.
func ParseRedirect(n Notify) (Redirect, error) {
	r := notifyReader(n)
	p := Redirect{To: readGateway(&r)}
	if p.Nonce = r.rest(); r.err == nil && len(p.Nonce) == 0 {
		p.Nonce = nil
	}
	if len(p.Nonce) > 0 && (len(p.Nonce) < MinNonce || len(p.Nonce) > MaxNonce) {
		r.fail("nonce of %d octets: %w", len(p.Nonce), ErrLength)
	}
	if err := r.close(n); err != nil {
		return Redirect{}, err
	}
	return p, nil
}

// RedirectedFrom tells the new gateway which one sent the client (RFC 5685 §6.3).
type RedirectedFrom Gateway

// Notify makes REDIRECTED_FROM.
func (p RedirectedFrom) Notify() (Notify, error) {
	data, err := Gateway(p).append(nil)
	if err != nil {
		return Notify{}, err
	}
	return Notify{Type: NotifyRedirectedFrom, Data: data}, nil
}

// ParseRedirectedFrom reads REDIRECTED_FROM.
func ParseRedirectedFrom(n Notify) (RedirectedFrom, error) {
	r := notifyReader(n)
	g := readGateway(&r)
	if err := r.close(n); err != nil {
		return RedirectedFrom{}, err
	}
	return RedirectedFrom(g), nil
}

func (g Gateway) append(dst []byte) ([]byte, error) {
	addr := g.Addr.Unmap()
	switch {
	case addr.Is4():
		return append(append(dst, gatewayIPv4, 4), addr.AsSlice()...), nil
	case addr.Is6():
		return append(append(dst, gatewayIPv6, 16), addr.AsSlice()...), nil
	case g.Name == "" || len(g.Name) > 0xff:
		return nil, fmt.Errorf("gateway name of %d octets: %w", len(g.Name), ErrLength)
	}
	return append(append(dst, gatewayFQDN, byte(len(g.Name))), g.Name...), nil
}

func readGateway(r *reader) Gateway {
	at := r.offset()
	t := r.uint8("gateway type")
	size := int(r.uint8("gateway length"))
	want := map[uint8]int{gatewayIPv4: 4, gatewayIPv6: 16}[t]
	switch {
	case r.err != nil:
	case t < gatewayIPv4 || t > gatewayFQDN:
		r.failAt(at, "gateway type %d: %w", t, ErrValue)
	case t == gatewayFQDN && size == 0 || t != gatewayFQDN && size != want:
		r.failAt(at+1, "gateway of %d octets: %w", size, ErrLength)
	case t == gatewayFQDN:
		return Gateway{Name: string(r.bytes(size, "gateway"))}
	default:
		return Gateway{Addr: r.address(size, "gateway")}
	}
	return Gateway{}
}
