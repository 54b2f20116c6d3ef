package wire

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
)

// V1Vendor is something that a peer says it can do by a vendor ID.
type V1Vendor uint8

const (
	V1VendorDPD           V1Vendor = iota // RFC 3706 §5.1
	V1VendorNATT                          // RFC 3947 §3.1
	V1VendorNATTDraft03                   // draft-ietf-ipsec-nat-t-ike-03
	V1VendorNATTDraft02                   // draft-ietf-ipsec-nat-t-ike-02, hashed with a line feed by most
	V1VendorNATTDraft02LF                 //
	V1VendorXAuth                         // draft-beaulieu-ike-xauth
	V1VendorUnity                         // Cisco's clients and gateways
	V1VendorFragmentation                 // Cisco's IKE fragmentation
	v1Vendors
)

// v1VendorID is how a vendor ID starts: versions may follow.
type v1VendorID struct {
	name  string
	octet []byte
}

// v1VendorIDs are the first octets. Where a document gives a text, the ID is
// its MD5 hash; the others are fixed numbers, the last two octets of DPD and
// Unity being a version.
func v1VendorIDs() [v1Vendors]v1VendorID {
	hash := func(text string) []byte {
		sum := md5.Sum([]byte(text))
		return sum[:]
	}
	fixed := func(digits string) []byte {
		b, _ := hex.DecodeString(digits)
		return b
	}
	return [v1Vendors]v1VendorID{
		V1VendorDPD:           {"DPD", fixed("afcad71368a1f1c96b8696fc77570100")},
		V1VendorNATT:          {"NAT-T", hash("RFC 3947")},
		V1VendorNATTDraft03:   {"NAT-T draft 03", hash("draft-ietf-ipsec-nat-t-ike-03")},
		V1VendorNATTDraft02:   {"NAT-T draft 02", hash("draft-ietf-ipsec-nat-t-ike-02")},
		V1VendorNATTDraft02LF: {"NAT-T draft 02", hash("draft-ietf-ipsec-nat-t-ike-02\n")},
		V1VendorXAuth:         {"XAUTH", fixed("09002689dfd6b712")},
		V1VendorUnity:         {"Unity", fixed("12f5f28c457168a9702d9fe274cc0100")},
		V1VendorFragmentation: {"fragmentation", hash("FRAGMENTATION")},
	}
}

func (v V1Vendor) String() string {
	if ids := v1VendorIDs(); int(v) < len(ids) {
		return ids[v].name
	}
	return fmt.Sprintf("vendor(%d)", uint8(v))
}

// Payload announces it. Cisco's fragmentation needs the capabilities behind
// its hash: 0x80000000 is for phase 1.
func (v V1Vendor) Payload() V1VendorID {
	ids := v1VendorIDs()
	data := bytes.Clone(ids[v].octet)
	if v == V1VendorFragmentation {
		data = append(data, 0x80, 0, 0, 0)
	}
	return V1VendorID{data}
}

// Vendor tells what a vendor ID announces. The minor version at the end of
// DPD's and Unity's does not matter: RFC 3706 §5.1.
func (p V1VendorID) Vendor() (V1Vendor, bool) {
	for v, id := range v1VendorIDs() {
		want := id.octet
		if V1Vendor(v) == V1VendorDPD || V1Vendor(v) == V1VendorUnity {
			want = want[:14]
		}
		if bytes.HasPrefix(p.Data, want) {
			return V1Vendor(v), true
		}
	}
	return 0, false
}
