package packet_test

import (
	"testing"

	"github.com/gopacket/gopacket/layers"

	"spindle/datapath/packet"
)

func TestPathHelpersAllocateNothing(t *testing.T) {
	tcp, th := syn(t, true, noop, mss1460)
	refusal := errorAbout(t, espPacket(t, false, true, 500), 3, 4, 1400, 300)
	var rh, h packet.Header
	rh.ParseIP(refusal)
	long, dst := over6(t, layers.IPProtocolUDP, udp(), 3000), make([]byte, 1500)
	h.ParseIP(long)
	if n := testing.AllocsPerRun(50, func() {
		packet.ClampMSS(tcp, th, 1300)
		packet.ParseQuote(refusal, &rh, natt)
		packet.FragmentIPv6(dst, long, &h, 1400, 9, 1360)
		packet.TransportESP(long)
		packet.Restack(long, packet.IPv6Len, packet.UDP)
		packet.RestoreChecksum(long, &h)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
