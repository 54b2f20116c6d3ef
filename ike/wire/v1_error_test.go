package wire_test

import (
	"errors"
	"net/netip"
	"testing"

	"spindle/ike/wire"
)

// TestV1ErrorsNamePayloadAndOffset holds the exact complaint about each kind of
// lie. Offsets count from the header.
func TestV1ErrorsNamePayloadAndOffset(t *testing.T) {
	situation := "\x00\x00\x00\x01\x00\x00\x00\x01"
	transform := "\x00\x00\x00\x0c\x01\x01\x00\x00\x80\x01\x00\x07"
	for name, c := range map[string]struct {
		first wire.PayloadType
		chain string
		want  string
		cause error
	}{
		"reserved octet":               {wire.PayloadV1VendorID, "\x00\x01\x00\x05v", "parse IKE payload VID at octet 29: reserved octet 1: impossible value", wire.ErrValue},
		"octets after the last one":    {wire.PayloadV1VendorID, payload("v") + "x", "parse IKE payload VID at octet 33: 1 octets after the last payload: trailing octets", wire.ErrTrailing},
		"another DOI":                  {wire.PayloadV1SA, payload("\x00\x00\x00\x02\x00\x00\x00\x01"), "parse IKE payload SA at octet 32: DOI 2: impossible value", wire.ErrValue},
		"another situation":            {wire.PayloadV1SA, payload("\x00\x00\x00\x01\x00\x00\x00\x02"), "parse IKE payload SA at octet 36: situation 2: impossible value", wire.ErrValue},
		"no proposal":                  {wire.PayloadV1SA, payload(situation), "parse IKE payload SA at octet 40: proposal: truncated", wire.ErrTruncated},
		"proposal with a wrong mark":   {wire.PayloadV1SA, payload(situation + "\x03\x00\x00\x08\x01\x01\x00\x00"), "parse IKE payload SA at octet 40: proposal starts with 3: broken payload chain", wire.ErrChain},
		"fewer transforms than said":   {wire.PayloadV1SA, payload(situation + "\x00\x00\x00\x14\x01\x01\x00\x02" + transform), "parse IKE payload SA at octet 60: transform 1 of 2 says otherwise: broken payload chain", wire.ErrChain},
		"more transforms than said":    {wire.PayloadV1SA, payload(situation + "\x00\x00\x00\x20\x01\x01\x00\x01" + transform + transform), "parse IKE payload SA at octet 60: 12 octets: trailing octets", wire.ErrTrailing},
		"KE without data":              {wire.PayloadV1KE, payload(""), "parse IKE payload KE at octet 32: no key exchange data: truncated", wire.ErrTruncated},
		"nonce of 7":                   {wire.PayloadV1Nonce, payload("1234567"), "parse IKE payload NONCE at octet 32: nonce of 7 octets: impossible length", wire.ErrLength},
		"empty hash":                   {wire.PayloadV1Hash, payload(""), "parse IKE payload HASH at octet 32: no hash: truncated", wire.ErrTruncated},
		"identity of three":            {wire.PayloadV1ID, payload("\x01\x00\x00"), "parse IKE payload ID at octet 34: port: truncated", wire.ErrTruncated},
		"delete with SPI size zero":    {wire.PayloadV1Delete, payload("\x00\x00\x00\x01\x03\x00\xff\xff"), "parse IKE payload D at octet 37: SPI size 0: impossible length", wire.ErrLength},
		"delete with a lying count":    {wire.PayloadV1Delete, payload("\x00\x00\x00\x01\x03\x04\x00\x02spi!"), "parse IKE payload D at octet 40: 2 SPIs in 4 octets: truncated", wire.ErrTruncated},
		"notify with a lying SPI size": {wire.PayloadV1Notify, payload("\x00\x00\x00\x01\x03\x05\x00\x0bspi!"), "parse IKE payload N at octet 40: SPI: truncated", wire.ErrTruncated},
		"attribute too long":           {wire.PayloadV1Attributes, payload("\x01\x00\x00\x00\x00\x01\x00\x05addr"), "parse IKE payload ATTR at octet 40: attribute value: truncated", wire.ErrTruncated},
		"original address of no kind":  {wire.PayloadV1NATOA, payload("\x02\x00\x00\x00a.example"), "parse IKE payload NAT-OA at octet 32: original address of type ID_FQDN: impossible value", wire.ErrValue},
		"original address too long":    {wire.PayloadV1NATOA, payload("\x01\x00\x00\x0012345"), "parse IKE payload NAT-OA at octet 40: 1 octets: trailing octets", wire.ErrTrailing},
		"fragment zero":                {wire.PayloadV1CiscoFragment, payload("\x00\x01\x00\x01x"), "parse IKE payload FRAG at octet 34: fragment 0, last 1: impossible value", wire.ErrValue},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := wire.ParseV1Message(v1Frame(c.first, []byte(c.chain)))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if !errors.Is(err, c.cause) {
				t.Errorf("%v is not %v", err, c.cause)
			}
		})
	}
}

// Each version refuses the other's messages, and says so.
func TestV1AndV2KeepApart(t *testing.T) {
	if _, err := wire.ParseMessage(v1Messages(t)[0].bytes); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("IKEv1 parsed as IKEv2: %v", err)
	}
	if _, err := wire.ParseV1Message(messages(t)[0].bytes); !errors.Is(err, wire.ErrVersion1) {
		t.Errorf("IKEv2 parsed as IKEv1: %v", err)
	}
	encrypted := v1Frame(0, nil)
	encrypted[19] = byte(wire.V1FlagEncrypted)
	if _, err := wire.ParseV1Message(encrypted); !errors.Is(err, wire.ErrChain) {
		t.Errorf("encrypted message parsed as clear: %v", err)
	}
	encrypted[19] = 0
	if _, err := wire.OpenV1Encrypted(encrypted, xorCipher{8}); !errors.Is(err, wire.ErrChain) {
		t.Errorf("clear message opened: %v", err)
	}
}

// What no message can carry is an error of appending, not a broken message.
func TestV1AppendRefuses(t *testing.T) {
	for name, p := range map[string]wire.Payload{
		"no proposals":        wire.V1SA{},
		"no KE data":          wire.V1KE{},
		"no hash":             wire.V1Hash{},
		"nonce of 7":          wire.V1Nonce{Data: make([]byte, 7)},
		"SPI of 300":          wire.V1Notify{SPI: make([]byte, 300)},
		"SPIs of two sizes":   wire.V1Delete{SPISize: 4, SPIs: [][]byte{make([]byte, 3)}},
		"SPIs of no size":     wire.V1Delete{},
		"fragment zero":       wire.V1Fragment{},
		"no original address": wire.V1NATOA{Addr: netip.Addr{}},
		"basic attribute":     wire.V1Attributes{Attributes: []wire.Attribute{{Short: true, Value: []byte{1}}}},
		"too long":            wire.V1VendorID{Data: make([]byte, 1<<16)},
	} {
		if b, err := wire.AppendV1Message(nil, wire.Header{}, []wire.Payload{p}); err == nil {
			t.Errorf("%s: %x", name, b)
		}
	}
}

// The vendor IDs of the RFCs and drafts, as they stand in them or in captures.
func TestV1VendorIDs(t *testing.T) {
	found := map[wire.V1Vendor]bool{}
	for _, s := range v1Messages(t) {
		m, err := wire.ParseV1Message(s.bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Payloads {
			if id, ok := p.(wire.V1VendorID); ok {
				if v, ok := id.Vendor(); ok {
					found[v] = true
					if again, ok := v.Payload().Vendor(); !ok || again != v {
						t.Errorf("%v announces %v", v, again)
					}
				}
			}
		}
	}
	for _, v := range []wire.V1Vendor{wire.V1VendorDPD, wire.V1VendorNATT, wire.V1VendorNATTDraft02LF, wire.V1VendorXAuth,
		wire.V1VendorUnity, wire.V1VendorFragmentation} {
		if !found[v] {
			t.Errorf("strongSwan announces no %v", v)
		}
	}
	if _, ok := (wire.V1VendorID{Data: []byte("somebody else")}).Vendor(); ok {
		t.Error("an unknown vendor ID is known")
	}
}
