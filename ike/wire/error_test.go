package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"spindle/ike/wire"
)

// payload frames body as the last payload of a chain.
func payload(body string) string {
	return string([]byte{0, 0}) + string(binary.BigEndian.AppendUint16(nil, uint16(4+len(body)))) + body
}

// TestErrorsNamePayloadAndOffset holds the exact complaint about each kind of lie.
func TestErrorsNamePayloadAndOffset(t *testing.T) {
	transform := "\x00\x00\x00\x08\x04\x00\x00\x13"
	for name, c := range map[string]struct {
		first wire.PayloadType
		chain string
		want  string
		cause error
	}{
		"no room for a payload header": {wire.PayloadNonce, "\x00\x00\x00", "parse IKE payload Nonce at octet 2: payload length: truncated", wire.ErrTruncated},
		"payload length zero":          {wire.PayloadKE, "\x00\x00\x00\x00", "parse IKE payload KE at octet 2: payload length 0: impossible length", wire.ErrLength},
		"payload length three":         {wire.PayloadKE, "\x00\x00\x00\x03", "parse IKE payload KE at octet 2: payload length 3: impossible length", wire.ErrLength},
		"payload longer than what is left": {wire.PayloadKE, "\x00\x00\x00\x09\x00\x13\x00\x00", "parse IKE payload KE at octet 2: payload length 9 with 8 octets left: truncated",
			wire.ErrTruncated},
		"octets after the last payload": {wire.PayloadVendorID, payload("v") + "x", "parse IKE payload V at octet 5: 1 octets after the last payload: trailing octets", wire.ErrTrailing},
		"octets and no payload":         {wire.PayloadNone, "x", "parse IKE header at octet 0: 1 octets after the last payload: trailing octets", wire.ErrTrailing},
		"SK inside SK":                  {wire.PayloadSK, payload("x"), "parse IKE payload SK at octet 0: encrypted payload inside another: broken payload chain", wire.ErrChain},

		"empty SA":                     {wire.PayloadSA, payload(""), "parse IKE payload SA at octet 4: proposal: truncated", wire.ErrTruncated},
		"proposal with a wrong mark":   {wire.PayloadSA, payload("\x01\x00\x00\x08\x01\x01\x00\x00"), "parse IKE payload SA at octet 4: proposal starts with 1: broken payload chain", wire.ErrChain},
		"proposal length three":        {wire.PayloadSA, payload("\x00\x00\x00\x03\x01\x01\x00\x00"), "parse IKE payload SA at octet 6: proposal length 3: impossible length", wire.ErrLength},
		"last proposal not the last":   {wire.PayloadSA, payload("\x00\x00\x00\x10\x01\x01\x00\x01" + transform + "x"), "parse IKE payload SA at octet 20: 1 octets: trailing octets", wire.ErrTrailing},
		"promised proposal missing":    {wire.PayloadSA, payload("\x02\x00\x00\x10\x01\x01\x00\x01" + transform), "parse IKE payload SA at octet 20: proposal: truncated", wire.ErrTruncated},
		"SPI longer than its proposal": {wire.PayloadSA, payload("\x00\x00\x00\x10\x01\x01\x09\x01" + transform), "parse IKE payload SA at octet 12: SPI: truncated", wire.ErrTruncated},
		"fewer transforms than said":   {wire.PayloadSA, payload("\x00\x00\x00\x10\x01\x01\x00\x02" + transform), "parse IKE payload SA at octet 20: transform 1 of 2 says otherwise: broken payload chain", wire.ErrChain},
		"more transforms than said":    {wire.PayloadSA, payload("\x00\x00\x00\x18\x01\x01\x00\x01" + transform + transform), "parse IKE payload SA at octet 20: 8 octets: trailing octets", wire.ErrTrailing},
		"attribute longer than its transform": {wire.PayloadSA, payload("\x00\x00\x00\x14\x01\x01\x00\x01\x00\x00\x00\x0c\x01\x00\x00\x14\x00\x0e\x00\x01"),
			"parse IKE payload SA at octet 24: attribute value: truncated", wire.ErrTruncated},

		"KE without data":              {wire.PayloadKE, payload("\x00\x13\x00\x00"), "parse IKE payload KE at octet 8: no key exchange data: truncated", wire.ErrTruncated},
		"nonce of 15":                  {wire.PayloadNonce, payload(strings.Repeat("n", 15)), "parse IKE payload Nonce at octet 4: nonce of 15 octets: impossible length", wire.ErrLength},
		"nonce of 257":                 {wire.PayloadNonce, payload(strings.Repeat("n", 257)), "parse IKE payload Nonce at octet 4: nonce of 257 octets: impossible length", wire.ErrLength},
		"identity of three":            {wire.PayloadIDi, payload("\x01\x00\x00"), "parse IKE payload IDi at octet 5: reserved: truncated", wire.ErrTruncated},
		"notify with a lying SPI size": {wire.PayloadNotify, payload("\x03\x05\x00\x0bspi!"), "parse IKE payload N at octet 8: SPI: truncated", wire.ErrTruncated},
		"delete of an IKE SA by SPI":   {wire.PayloadDelete, payload("\x01\x08\x00\x01spispisp"), "parse IKE payload D at octet 5: SPI size 8 for IKE: impossible length", wire.ErrLength},
		"delete with SPI size zero":    {wire.PayloadDelete, payload("\x03\x00\xff\xff"), "parse IKE payload D at octet 5: SPI size 0 for ESP: impossible length", wire.ErrLength},
		"delete with a lying count":    {wire.PayloadDelete, payload("\x03\x04\x00\x02spi!"), "parse IKE payload D at octet 8: 2 SPIs in 4 octets: truncated", wire.ErrTruncated},
		"delete with an extra SPI":     {wire.PayloadDelete, payload("\x03\x04\x00\x01spi!spi!"), "parse IKE payload D at octet 12: 4 octets: trailing octets", wire.ErrTrailing},
		"no traffic selector":          {wire.PayloadTSi, payload("\x00\x00\x00\x00"), "parse IKE payload TSi at octet 4: no traffic selector: impossible value", wire.ErrValue},
		"traffic selector of 15":       {wire.PayloadTSr, payload("\x01\x00\x00\x00\x07\x00\x00\x0f\x00\x00\xff\xff\x0a\x00\x00\x00\x0a\x00\x00"), "parse IKE payload TSr at octet 20: ending address: truncated", wire.ErrTruncated},
		"traffic selector of 17":       {wire.PayloadTSr, payload("\x01\x00\x00\x00\x07\x00\x00\x11\x00\x00\xff\xff\x0a\x00\x00\x00\x0a\x00\x00\x01x"), "parse IKE payload TSr at octet 24: 1 octets: trailing octets", wire.ErrTrailing},
		"traffic selector backwards":   {wire.PayloadTSr, payload("\x01\x00\x00\x00\x07\x00\x00\x10\x00\x00\xff\xff\x0a\x00\x00\x01\x0a\x00\x00\x00"), "parse IKE payload TSr at octet 16: selector from 10.0.0.1 to 10.0.0.0: impossible value", wire.ErrValue},
		"fewer selectors than said":    {wire.PayloadTSi, payload("\x02\x00\x00\x00\x07\x00\x00\x10\x00\x00\xff\xff\x0a\x00\x00\x00\x0a\x00\x00\x01"), "parse IKE payload TSi at octet 24: TS type: truncated", wire.ErrTruncated},
		"CP attribute too long":        {wire.PayloadCP, payload("\x01\x00\x00\x00\x00\x01\x00\x05addr"), "parse IKE payload CP at octet 12: attribute value: truncated", wire.ErrTruncated},
		"EAP with a lying length":      {wire.PayloadEAP, payload("\x02\x01\x00\x08\x01us"), "parse IKE payload EAP at octet 6: EAP length 8 in a payload of 7 octets: impossible length", wire.ErrLength},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParsePayloads(c.first, []byte(c.chain))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if !errors.Is(err, c.cause) {
				t.Errorf("%v is not %v", err, c.cause)
			}
		})
	}
}

func TestHeaderErrors(t *testing.T) {
	good, err := wire.AppendMessage(nil, wire.Header{InitiatorSPI: 1, Exchange: wire.ExchangeInformational}, nil)
	if err != nil {
		t.Fatal(err)
	}
	length := func(n uint32) []byte {
		b := bytes.Clone(good)
		binary.BigEndian.PutUint32(b[24:], n)
		return b
	}
	version := bytes.Clone(good)
	version[17] = 0x30
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{nil, "parse IKE header at octet 0: initiator SPI: truncated"},
		{good[:27], "parse IKE header at octet 24: length: truncated"},
		{length(27), "parse IKE header at octet 24: length 27: impossible length"},
		{length(29), "parse IKE header at octet 24: length 29 of 28 octets: truncated"},
		{length(0xffffffff), "parse IKE header at octet 24: length 4294967295 of 28 octets: truncated"},
		{append(bytes.Clone(good), "xyz"...), "parse IKE header at octet 28: 3 octets after the message: trailing octets"},
		{version, "parse IKE header at octet 17: version 3.0: not IKE version 2"},
	} {
		if _, err := wire.ParseMessage(c.b); err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
	// The header alone is read of any version: the engine answers INVALID_MAJOR_VERSION.
	if h, err := wire.ParseHeader(version); err != nil || h.Version.Major() != 3 {
		t.Errorf("header of version 3: %+v, %v", h, err)
	}
}

// RFC 7296 §2.5: an unknown payload is skipped, unless it is critical; the
// critical bit of a known one is ignored.
func TestUnknownPayloads(t *testing.T) {
	chain := []byte("\xc8\x00\x00\x05a" + "\x2b\x00\x00\x05b" + "\x00\x80\x00\x05c")
	payloads, err := wire.ParsePayloads(199, chain)
	if err != nil || len(payloads) != 3 || payloads[1].PayloadType() != 200 {
		t.Fatalf("unknown payloads not critical: %v, %v", payloads, err)
	}
	chain[6] = 0x80
	_, err = wire.ParsePayloads(199, chain)
	var critical *wire.UnsupportedCriticalError
	if !errors.As(err, &critical) || critical.Type != 200 {
		t.Fatalf("unknown critical payload: %v", err)
	}
	var at *wire.Error
	if !errors.As(err, &at) || at.Offset != 5 {
		t.Errorf("unknown critical payload: %v", err)
	}
}

// Hostile messages are refused before they cost much.
func TestBounds(t *testing.T) {
	chain := strings.Repeat("\x2b\x00\x00\x04", wire.MaxPayloads) + "\x00\x00\x00\x04"
	if _, err := wire.ParsePayloads(wire.PayloadVendorID, []byte(chain)); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("%d payloads: %v", wire.MaxPayloads+1, err)
	}
	proposals := strings.Repeat("\x02\x00\x00\x08\x01\x01\x00\x00", wire.MaxProposals) + "\x00\x00\x00\x08\x01\x01\x00\x00"
	if _, err := wire.ParsePayloads(wire.PayloadSA, []byte(payload(proposals))); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("%d proposals: %v", wire.MaxProposals+1, err)
	}
	full := "\x00\x00\x07\xf8\x01\x01\x00\xfe" + strings.Repeat("\x03\x00\x00\x08\x04\x00\x00\x13", 253) + "\x00\x00\x00\x08\x04\x00\x00\x13"
	three := "\x02" + full[1:] + "\x02" + full[1:] + full
	if _, err := wire.ParsePayloads(wire.PayloadSA, []byte(payload(three))); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("762 transforms: %v", err)
	}
	attributes := payload("\x01\x00\x00\x00" + strings.Repeat("\x00\x01\x00\x00", wire.MaxAttributes+1))
	if _, err := wire.ParsePayloads(wire.PayloadCP, []byte(attributes)); !errors.Is(err, wire.ErrTooMany) {
		t.Errorf("%d attributes: %v", wire.MaxAttributes+1, err)
	}
}

// What no message can carry is an error of appending, not a broken message.
func TestAppendRefuses(t *testing.T) {
	addr := netip.MustParseAddr
	for name, p := range map[string]wire.Payload{
		"no proposals":     wire.SA{},
		"short attribute":  wire.SA{Proposals: []wire.Proposal{{Transforms: []wire.Transform{{Attributes: []wire.Attribute{{Short: true, Value: []byte{1}}}}}}}},
		"no KE data":       wire.KE{Group: wire.GroupX25519},
		"nonce of 8":       wire.Nonce{Data: make([]byte, 8)},
		"IKE delete":       wire.Delete{Protocol: wire.ProtocolIKE, SPIs: []uint32{1}},
		"no selectors":     wire.TSi{},
		"IPv6 as IPv4":     wire.TSi{Selectors: []wire.TrafficSelector{{Type: wire.TSIPv4AddrRange, Start: addr("::1"), End: addr("::1")}}},
		"backwards":        wire.TSr{Selectors: []wire.TrafficSelector{{Type: wire.TSIPv6AddrRange, Start: addr("::2"), End: addr("::1")}}},
		"64 KiB":           wire.VendorID{Data: make([]byte, 0xfffc)},
		"long notify SPI":  wire.Notify{SPI: make([]byte, 256)},
		"CP type 0x8000":   wire.CP{Attributes: []wire.ConfigAttribute{{Type: 0x8000}}},
		"EAP of 64 KiB":    wire.EAP{Data: make([]byte, 0xffff)},
		"missing selector": wire.TSr{Selectors: []wire.TrafficSelector{{Type: wire.TSIPv4AddrRange}}},
	} {
		_, err := wire.AppendMessage(nil, wire.Header{}, []wire.Payload{p})
		checkError(t, err, wire.HeaderSize)
		t.Logf("%s: %v", name, err)
	}
	sk := wire.SK{First: wire.PayloadNonce, Body: []byte("closed")}
	if _, err := wire.AppendMessage(nil, wire.Header{}, []wire.Payload{sk, wire.VendorID{}}); !errors.Is(err, wire.ErrChain) {
		t.Errorf("SK before another payload: %v", err)
	}
}
