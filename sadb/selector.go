package sadb

import (
	"fmt"
	"net/netip"
)

// Selector is one side's traffic selector (RFC 4301 §4.4.1.1, RFC 7296
// §3.13.1): an inclusive address range, a protocol (0 is any) and an inclusive
// port range (0..65535 is any; 65535..0 is OPAQUE).
type Selector struct {
	First, Last         netip.Addr
	Protocol            uint8
	FirstPort, LastPort uint16
}

// Flow is what selectors are matched against: the addresses and ports of one
// packet. Ports are 0 where the packet has none or does not show them.
type Flow struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	SrcPort, DstPort uint16
}

func (f Flow) String() string {
	return fmt.Sprintf("%s:%d -> %s:%d proto %d", f.Src, f.SrcPort, f.Dst, f.DstPort, f.Protocol)
}
