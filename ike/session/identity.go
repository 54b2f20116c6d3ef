package session

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// The types of an identity (RFC 7296 §3.5; RFC 2407 §4.6.2.1 has the same numbers).
const (
	IDIPv4   uint8 = 1
	IDFQDN   uint8 = 2
	IDRFC822 uint8 = 3
	IDIPv6   uint8 = 5
	IDDN     uint8 = 9
	IDKeyID  uint8 = 11
)

// Equal reports whether both are the same identity. RFC 7296 §3.5 compares
// neither case nor encoding for us: the octets must agree. Only distinguished
// names have one form in a file and others on the wire (see sameDN).
func (i Identity) Equal(o Identity) bool {
	if i.Type == IDDN && o.Type == IDDN {
		return sameDN(i.Data, o.Data)
	}
	return i.Type == o.Type && bytes.Equal(i.Data, o.Data)
}

// IsZero reports whether there is no identity at all, which in a
// configuration accepts any.
func (i Identity) IsZero() bool { return i.Type == 0 && len(i.Data) == 0 }

// Shown is the identity as status tells it, "" for none.
func (i Identity) Shown() string {
	if i.IsZero() {
		return ""
	}
	return i.String()
}

func (i Identity) String() string {
	switch i.Type {
	case IDIPv4, IDIPv6:
		if addr, ok := netip.AddrFromSlice(i.Data); ok {
			return addr.String()
		}
	case IDFQDN:
		return printable(i.Data)
	case IDRFC822:
		return printable(i.Data)
	case IDDN:
		if text, ok := formatDN(i.Data); ok {
			return text
		}
	case IDKeyID:
		return "keyid:" + printable(i.Data)
	}
	return fmt.Sprintf("type%d:%s", i.Type, hex.EncodeToString(i.Data))
}

// printable keeps what a peer sends from forging log lines or filling them.
func printable(data []byte) string {
	const most = 128
	if len(data) > most {
		data = data[:most]
	}
	for _, c := range data {
		if c < 0x21 || c > 0x7e {
			return hex.EncodeToString(data)
		}
	}
	return string(data)
}
