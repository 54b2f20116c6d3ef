package wire_test

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/wire"
)

// parseNotify reads the data of any notification that has a type here.
func parseNotify(n wire.Notify) (any, error) {
	switch n.Type {
	case wire.NotifySignatureHashAlgorithms:
		return wire.ParseSignatureHashAlgorithms(n)
	case wire.NotifyRedirect:
		return wire.ParseRedirect(n)
	case wire.NotifyRedirectedFrom:
		return wire.ParseRedirectedFrom(n)
	case wire.NotifyCookie2:
		return wire.ParseCookie2(n)
	case wire.NotifyAdditionalIP4Address, wire.NotifyAdditionalIP6Address:
		return wire.ParseAdditionalAddress(n)
	case wire.NotifyNoNATsAllowed:
		return wire.ParseNoNATsAllowed(n)
	case wire.NotifyQCDToken:
		return wire.ParseQCDToken(n)
	case wire.NotifyPPKIdentity:
		return wire.ParsePPKIdentity(n)
	case wire.NotifyAuthLifetime:
		return wire.ParseAuthLifetime(n)
	case wire.NotifySetWindowSize:
		return wire.ParseWindowSize(n)
	}
	return nil, errors.New("no such type")
}

// makeNotify is the other way.
func makeNotify(v any) (wire.Notify, error) {
	switch v := v.(type) {
	case interface{ Notify() wire.Notify }:
		return v.Notify(), nil
	case interface{ Notify() (wire.Notify, error) }:
		return v.Notify()
	}
	return wire.Notify{}, errors.New("makes no notification")
}

var notifyCases = []struct {
	value any
	data  string
}{
	{wire.SignatureHashAlgorithms{wire.HashSHA2256, wire.HashIdentity}, "\x00\x02\x00\x05"},
	{wire.Redirect{To: wire.Gateway{Addr: netip.MustParseAddr("192.0.2.1")}, Nonce: []byte("sixteen octets..")}, "\x01\x04\xc0\x00\x02\x01sixteen octets.."},
	{wire.Redirect{To: wire.Gateway{Addr: netip.MustParseAddr("2001:db8::1")}}, "\x02\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
	{wire.Redirect{To: wire.Gateway{Name: "vpn.example"}}, "\x03\x0bvpn.example"},
	{wire.RedirectedFrom{Name: "vpn.example"}, "\x03\x0bvpn.example"},
	{wire.RedirectedFrom{Addr: netip.MustParseAddr("192.0.2.1")}, "\x01\x04\xc0\x00\x02\x01"},
	{wire.Cookie2("eight..."), "eight..."},
	{wire.AdditionalAddress(netip.MustParseAddr("192.0.2.1")), "\xc0\x00\x02\x01"},
	{wire.AdditionalAddress(netip.MustParseAddr("2001:db8::1")), "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
	{wire.NoNATsAllowed{Source: netip.MustParseAddrPort("192.0.2.1:500"), Destination: netip.MustParseAddrPort("192.0.2.2:4500")},
		"\xc0\x00\x02\x01\xc0\x00\x02\x02\x01\xf4\x11\x94"},
	{wire.NoNATsAllowed{Source: netip.MustParseAddrPort("[::1]:500"), Destination: netip.MustParseAddrPort("[::2]:500")},
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x01\xf4\x01\xf4"},
	{wire.QCDToken("sixteen octets.."), "sixteen octets.."},
	{wire.PPKIdentity{Type: wire.PPKIDFixed, Data: []byte("ppk")}, "\x02ppk"},
	{wire.AuthLifetime(3600), "\x00\x00\x0e\x10"},
	{wire.WindowSize(5), "\x00\x00\x00\x05"},
}

// Data as the RFCs draw it, both ways.
func TestNotifyData(t *testing.T) {
	options := cmp.Options{compareAddr, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b wire.AdditionalAddress) bool { return a == b })}
	for _, c := range notifyCases {
		n, err := makeNotify(c.value)
		if err != nil || string(n.Data) != c.data {
			t.Errorf("%#v: %x, %v", c.value, n.Data, err)
			continue
		}
		got, err := parseNotify(n)
		if err != nil || !cmp.Equal(got, c.value, options) {
			t.Errorf("%v: %#v, %v", n.Type, got, err)
		}
	}
}

// Cut anywhere or with an octet more it is an error, unless that has a meaning
// of its own.
func TestNotifyDataTruncated(t *testing.T) {
	for _, c := range notifyCases {
		n, err := makeNotify(c.value)
		if err != nil {
			t.Fatal(err)
		}
		whole := n.Data
		for size := range len(whole) + 1 {
			n.Data = whole[:size]
			if size == len(whole) {
				n.Data = append(bytes.Clone(whole), 'x')
			}
			v, err := parseNotify(n)
			if err == nil {
				// Some octets fewer or more are another value of the same form.
				again, err := makeNotify(v)
				if err != nil || !bytes.Equal(again.Data, n.Data) {
					if _, ok := v.(wire.PPKIdentity); !ok || size != 0 {
						t.Errorf("%v cut at %d reads as %#v", n.Type, size, v)
					}
				}
				continue
			}
			var e *wire.Error
			if !errors.As(err, &e) || e.Payload != wire.PayloadNotify || e.Offset > len(n.Data) {
				t.Errorf("%v cut at %d: %v", n.Type, size, err)
			}
		}
	}
}

func TestNotifyDataRefused(t *testing.T) {
	for name, n := range map[string]wire.Notify{
		"no hash":              {Type: wire.NotifySignatureHashAlgorithms},
		"half a hash":          {Type: wire.NotifySignatureHashAlgorithms, Data: []byte{0, 2, 0}},
		"gateway of type 4":    {Type: wire.NotifyRedirect, Data: []byte("\x04\x04abcd")},
		"IPv4 of five":         {Type: wire.NotifyRedirect, Data: []byte("\x01\x05abcde")},
		"no name":              {Type: wire.NotifyRedirect, Data: []byte("\x03\x00")},
		"nonce of 15":          {Type: wire.NotifyRedirect, Data: []byte("\x01\x04abcdfifteen octets.")},
		"nonce in the new one": {Type: wire.NotifyRedirectedFrom, Data: []byte("\x01\x04abcdsixteen octets..")},
		"cookie2 of 7":         {Type: wire.NotifyCookie2, Data: make([]byte, 7)},
		"cookie2 of 65":        {Type: wire.NotifyCookie2, Data: make([]byte, 65)},
		"IPv4 of 16":           {Type: wire.NotifyAdditionalIP4Address, Data: make([]byte, 16)},
		"IPv6 of 4":            {Type: wire.NotifyAdditionalIP6Address, Data: make([]byte, 4)},
		"NAT of 13":            {Type: wire.NotifyNoNATsAllowed, Data: make([]byte, 13)},
		"token of 15":          {Type: wire.NotifyQCDToken, Data: make([]byte, 15)},
		"token of 129":         {Type: wire.NotifyQCDToken, Data: make([]byte, 129)},
		"PPK without data":     {Type: wire.NotifyPPKIdentity, Data: []byte{2}},
		"lifetime of 8":        {Type: wire.NotifyAuthLifetime, Data: make([]byte, 8)},
		"window of 0":          {Type: wire.NotifySetWindowSize, Data: make([]byte, 4)},
	} {
		if v, err := parseNotify(n); err == nil {
			t.Errorf("%s reads as %#v", name, v)
		}
	}
	if _, err := (wire.Redirect{}).Notify(); err == nil {
		t.Error("a redirect to nowhere")
	}
	if p, err := wire.ParsePPKIdentity(wire.Notify{Type: wire.NotifyPPKIdentity}); err != nil || p.Data != nil {
		t.Errorf("the responder's confirmation: %+v, %v", p, err)
	}
}

func FuzzNotifyData(f *testing.F) {
	for _, c := range notifyCases {
		n, err := makeNotify(c.value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(n.Type), n.Data)
	}
	f.Fuzz(func(t *testing.T, kind uint16, data []byte) {
		n := wire.Notify{Type: wire.NotifyType(kind), Data: data}
		v, err := parseNotify(n)
		if err != nil {
			return
		}
		if p, ok := v.(wire.PPKIdentity); ok && p.Data == nil {
			return
		}
		// IPv4 mapped to IPv6 is written as the IPv4 that it is.
		again, err := makeNotify(v)
		if err != nil || !bytes.Equal(again.Data, data) && !bytes.Contains(data, []byte{0xff, 0xff}) {
			t.Fatalf("%v: %x became %x, %v", n.Type, data, again.Data, err)
		}
	})
}

// RFC 7296 §3.15.1: attributes as they are drawn there, both ways.
func TestConfigValues(t *testing.T) {
	p := netip.MustParsePrefix
	for _, c := range []struct {
		attribute wire.ConfigAttribute
		kind      wire.ConfigAttributeType
		value     string
		prefix    netip.Prefix
	}{
		{wire.ConfigAddress(p("10.9.0.5/32")), wire.ConfigIP4Address, "\x0a\x09\x00\x05", p("10.9.0.5/32")},
		{wire.ConfigAddress(p("2001:db8::5/64")), wire.ConfigIP6Address, "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05\x40", p("2001:db8::5/64")},
		{wire.ConfigSubnet(p("10.1.0.0/20")), wire.ConfigIP4Subnet, "\x0a\x01\x00\x00\xff\xff\xf0\x00", p("10.1.0.0/20")},
		{wire.ConfigSubnet(p("0.0.0.0/0")), wire.ConfigIP4Subnet, "\x00\x00\x00\x00\x00\x00\x00\x00", p("0.0.0.0/0")},
		{wire.ConfigSubnet(p("10.1.2.3/32")), wire.ConfigIP4Subnet, "\x0a\x01\x02\x03\xff\xff\xff\xff", p("10.1.2.3/32")},
		{wire.ConfigSubnet(p("fd00::/8")), wire.ConfigIP6Subnet, "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08", p("fd00::/8")},
	} {
		if c.attribute.Type != c.kind || string(c.attribute.Value) != c.value {
			t.Errorf("%v: attribute %d of %x", c.prefix, c.attribute.Type, c.attribute.Value)
		}
		if got, err := c.attribute.Prefix(); err != nil || got != c.prefix {
			t.Errorf("%v reads as %v, %v", c.prefix, got, err)
		}
		for n := 1; n < len(c.value); n++ {
			if got, err := (wire.ConfigAttribute{Type: c.kind, Value: []byte(c.value[:n])}).Prefix(); !errors.Is(err, wire.ErrTruncated) {
				t.Errorf("%v cut at %d reads as %v, %v", c.prefix, n, got, err)
			}
		}
		if _, err := (wire.ConfigAttribute{Type: c.kind, Value: []byte(c.value + "x")}).Prefix(); !errors.Is(err, wire.ErrTrailing) {
			t.Errorf("%v with an octet more: %v", c.prefix, err)
		}
		if got, err := (wire.ConfigAttribute{Type: c.kind}).Prefix(); err != nil || got.IsValid() {
			t.Errorf("a request reads as %v, %v", got, err)
		}
	}
	for _, s := range []string{"192.0.2.53", "2001:db8::53"} {
		addr := netip.MustParseAddr(s)
		a := wire.ConfigDNS(addr)
		if got, err := a.Addr(); err != nil || got != addr {
			t.Errorf("%v reads as %v, %v", addr, got, err)
		}
		a.Value = a.Value[1:]
		if _, err := a.Addr(); !errors.Is(err, wire.ErrTruncated) {
			t.Errorf("%v cut: %v", addr, err)
		}
	}
	if d := wire.ConfigDomain("corp.example"); d.Type != wire.ConfigDNSDomain || string(d.Value) != "corp.example" {
		t.Errorf("%+v", d)
	}
}

func TestConfigValuesRefused(t *testing.T) {
	for name, a := range map[string]wire.ConfigAttribute{
		"mask with a hole":  {Type: wire.ConfigIP4Subnet, Value: []byte{10, 0, 0, 0, 255, 0, 255, 0}},
		"prefix of 129":     {Type: wire.ConfigIP6Subnet, Value: append(make([]byte, 16), 129)},
		"a DNS as a prefix": {Type: wire.ConfigIP4DNS, Value: []byte{1, 2, 3, 4}},
	} {
		if p, err := a.Prefix(); !errors.Is(err, wire.ErrValue) {
			t.Errorf("%s reads as %v, %v", name, p, err)
		}
	}
	if v, err := (wire.ConfigAttribute{Type: wire.ConfigDNSDomain, Value: []byte("abcd")}).Addr(); !errors.Is(err, wire.ErrValue) {
		t.Errorf("a domain as an address reads as %v, %v", v, err)
	}
}

func FuzzConfigValues(f *testing.F) {
	f.Add(uint16(wire.ConfigIP4Subnet), []byte{10, 0, 0, 0, 255, 255, 0, 0})
	f.Add(uint16(wire.ConfigIP6Address), make([]byte, 17))
	f.Fuzz(func(t *testing.T, kind uint16, value []byte) {
		a := wire.ConfigAttribute{Type: wire.ConfigAttributeType(kind), Value: value}
		if p, err := a.Prefix(); err == nil && p.IsValid() {
			again := wire.ConfigSubnet(p)
			if a.Type == wire.ConfigIP4Address || a.Type == wire.ConfigIP6Address {
				again = wire.ConfigAddress(p)
			}
			if !reflect.DeepEqual(a, again) {
				t.Fatalf("%v is %v", a, again)
			}
		}
		if addr, err := a.Addr(); err == nil && addr.IsValid() && !bytes.Equal(addr.AsSlice(), value) {
			t.Fatalf("%x reads as %v", value, addr)
		}
	})
}

// RFC 3748 §4: a request or response has a type, a result has nothing.
func TestEAPMethod(t *testing.T) {
	p := wire.NewEAP(wire.EAPResponse, 7, wire.EAPIdentity, []byte("alice"))
	b, err := wire.AppendMessage(nil, wire.Header{}, []wire.Payload{p})
	if err != nil || string(b[wire.HeaderSize+4:]) != "\x02\x07\x00\x0a\x01alice" {
		t.Fatalf("%x, %v", b, err)
	}
	if method, data, err := p.Method(); err != nil || method != wire.EAPIdentity || string(data) != "alice" {
		t.Errorf("%v %q, %v", method, data, err)
	}
	if _, _, err := (wire.EAP{Code: wire.EAPSuccess, Identifier: 8}).Method(); err != nil {
		t.Error(err)
	}
	for name, p := range map[string]wire.EAP{
		"code 0": {}, "code 5": {Code: 5, Data: []byte{1}}, "no type": {Code: wire.EAPRequest},
		"failure with data": {Code: wire.EAPFailure, Data: []byte{1}},
	} {
		if m, _, err := p.Method(); err == nil {
			t.Errorf("%s has method %v", name, m)
		}
	}
}
