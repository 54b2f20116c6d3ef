package session

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"strings"
)

// attributeTypes are the keywords of RFC 4514 §3 and those that certificates of
// gateways use besides.
var attributeTypes = []struct {
	keyword string
	oid     asn1.ObjectIdentifier
}{
	{"CN", asn1.ObjectIdentifier{2, 5, 4, 3}},
	{"SN", asn1.ObjectIdentifier{2, 5, 4, 4}},
	{"serialNumber", asn1.ObjectIdentifier{2, 5, 4, 5}},
	{"C", asn1.ObjectIdentifier{2, 5, 4, 6}},
	{"L", asn1.ObjectIdentifier{2, 5, 4, 7}},
	{"ST", asn1.ObjectIdentifier{2, 5, 4, 8}},
	{"STREET", asn1.ObjectIdentifier{2, 5, 4, 9}},
	{"O", asn1.ObjectIdentifier{2, 5, 4, 10}},
	{"OU", asn1.ObjectIdentifier{2, 5, 4, 11}},
	{"DC", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}},
	{"UID", asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}},
	{"E", asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}},
}

// maxDN bounds a distinguished name that a peer sends, in octets.
const maxDN = 4096

// ParseDN reads a distinguished name as it is written in a configuration, like
// "C=CH, O=Example, CN=r8": in the order of the certificate, which is also that
// of strongSwan and openssl. A comma in a value is escaped by a backslash.
func ParseDN(text string) (Identity, error) {
	var seq pkix.RDNSequence
	for _, part := range splitDN(text) {
		keyword, value, ok := strings.Cut(part, "=")
		keyword, value = strings.TrimSpace(keyword), strings.TrimSpace(value)
		oid := attributeType(keyword)
		switch {
		case !ok || value == "":
			return Identity{}, fmt.Errorf("parse DN: %q is not KEY=VALUE", strings.TrimSpace(part))
		case oid == nil:
			return Identity{}, fmt.Errorf("parse DN: %q is no attribute type: one of CN, C, O, OU, L, ST, DC, UID, E", keyword)
		}
		seq = append(seq, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
	}
	data, err := asn1.Marshal(seq)
	if err != nil {
		return Identity{}, fmt.Errorf("parse DN: %w", err)
	}
	return Identity{Type: IDDN, Data: data}, nil
}

func attributeType(keyword string) asn1.ObjectIdentifier {
	for _, t := range attributeTypes {
		if strings.EqualFold(t.keyword, keyword) {
			return t.oid
		}
	}
	return nil
}

// splitDN cuts at commas, except escaped ones, and takes the escapes away.
func splitDN(text string) []string {
	var parts []string
	var part strings.Builder
	escaped := false
	for _, r := range text {
		switch {
		case r == '\\' && !escaped:
			escaped = true
			continue
		case r == ',' && !escaped:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteRune(r)
		}
		escaped = false
	}
	return append(parts, part.String())
}

func parseRDNs(der []byte) (pkix.RDNSequence, bool) {
	var seq pkix.RDNSequence
	if len(der) > maxDN {
		return nil, false
	}
	rest, err := asn1.Unmarshal(der, &seq)
	return seq, err == nil && len(rest) == 0
}

// sameDN compares as RFC 5280 §7.1 asks: by type and value, whatever string type
// carries the value, without regard to case or the amount of white space.
func sameDN(a, b []byte) bool {
	x, okX := parseRDNs(a)
	y, okY := parseRDNs(b)
	if !okX || !okY || len(x) != len(y) {
		return false
	}
	for i := range x {
		if len(x[i]) != len(y[i]) {
			return false
		}
		for j := range x[i] {
			if !x[i][j].Type.Equal(y[i][j].Type) || foldValue(x[i][j].Value) != foldValue(y[i][j].Value) {
				return false
			}
		}
	}
	return true
}

func foldValue(v any) string {
	return strings.ToLower(strings.Join(strings.Fields(fmt.Sprint(v)), " "))
}

// formatDN writes a distinguished name in the order of its octets. What a peer
// sends cannot forge a log line or fill it.
func formatDN(der []byte) (string, bool) {
	seq, ok := parseRDNs(der)
	if !ok {
		return "", false
	}
	var parts []string
	for _, set := range seq {
		for _, a := range set {
			parts = append(parts, keywordOf(a.Type)+"="+readable(fmt.Sprint(a.Value)))
		}
	}
	text := strings.Join(parts, ", ")
	const most = 256
	if len(text) > most {
		text = text[:most]
	}
	return text, true
}

func keywordOf(oid asn1.ObjectIdentifier) string {
	for _, t := range attributeTypes {
		if t.oid.Equal(oid) {
			return t.keyword
		}
	}
	return oid.String()
}

// readable escapes commas and lets no more than printable ASCII through.
func readable(s string) string {
	for _, r := range s {
		if r < 0x20 || r > 0x7e {
			return hex.EncodeToString([]byte(s))
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), ",", `\,`)
}
