package netlab

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/cilium/ebpf/asm"
)

// class is what a frame on the wire counts as.
type class int32

const (
	classTotal class = iota // every frame, before it is looked at
	classESP
	classESPinUDP
	classIKE
	classKeepalive
	classARP
	classND
	classMulticast
	classFragment
	classOther
	classClear
	classes
)

// Fields of struct __sk_buff (linux/bpf.h).
const (
	skbLen         = 0
	skbPktType     = 4
	skbVLANPresent = 20
	packetOutgoing = 4 // linux/if_packet.h
)

const sampleBytes = 256 // how much of a clear frame is kept

// classifier writes a socket filter that counts every frame under its class in
// the map and delivers only clear ones to the socket, cut short.
//
// LD_ABS loads in host order and ends the program with 0 where the frame is too
// short, so such a frame counts in the total and in no class.
type classifier struct {
	out    asm.Instructions
	mapFD  int
	labels int
}

func (c *classifier) add(ins ...asm.Instruction) { c.out = append(c.out, ins...) }

// label attaches a name to the next instruction.
func (c *classifier) label(name string, ins ...asm.Instruction) {
	ins[0] = ins[0].WithSymbol(name)
	c.add(ins...)
}

func (c *classifier) fresh() string {
	c.labels++
	return fmt.Sprintf("next%d", c.labels)
}

// classify returns the program; RFC 4303, RFC 3948 and RFC 7296 §3.1 say what
// ESP and IKE look like.
func classify(mapFD int, protected []netip.Prefix) asm.Instructions {
	c := &classifier{mapFD: mapFD}
	c.add(asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R0, asm.R6, skbPktType, asm.Word),
		asm.JEq.Imm(asm.R0, packetOutgoing, "drop"))
	c.count(classTotal)
	c.add(asm.LoadMem(asm.R0, asm.R6, skbVLANPresent, asm.Word),
		asm.JNE.Imm(asm.R0, 0, classClear.label()),
		asm.LoadAbs(12, asm.Half),
		asm.JEq.Imm(asm.R0, 0x0806, classARP.label()),
		asm.JEq.Imm(asm.R0, 0x0800, "ipv4"),
		asm.JEq.Imm(asm.R0, 0x86dd, "ipv6"),
		asm.JEq.Imm(asm.R0, 0x8100, classClear.label()), // nobody tags on this wire
		asm.JEq.Imm(asm.R0, 0x88a8, classClear.label()),
		asm.Ja.Label(classOther.label()))
	c.ipv4(protected)
	c.icmp()
	c.ipv6(protected)
	c.udp()
	for k := classESP; k < classes; k++ {
		c.label(k.label(), asm.Mov.Imm(asm.R7, int32(k)))
		c.add(asm.Ja.Label("count"))
	}
	c.label("count", asm.Mov.Reg(asm.R7, asm.R7))
	c.countR7()
	c.add(asm.JNE.Imm(asm.R7, int32(classClear), "drop"), asm.Mov.Imm(asm.R0, sampleBytes), asm.Return())
	c.label("drop", asm.Mov.Imm(asm.R0, 0))
	c.add(asm.Return())
	return c.out
}

func (k class) label() string { return fmt.Sprintf("class%d", k) }

func (c *classifier) ipv4(protected []netip.Prefix) {
	c.label("ipv4", asm.Mov.Imm(asm.R0, 0))
	for _, p := range protected {
		if p.Addr().Is4() {
			c.inside(p, 26)
			c.inside(p, 30)
		}
	}
	c.add(asm.LoadAbs(14, asm.Byte), // header length
		asm.And.Imm(asm.R0, 0xf), asm.LSh.Imm(asm.R0, 2), asm.Add.Imm(asm.R0, 14),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.LoadAbs(20, asm.Half), asm.And.Imm(asm.R0, 0x1fff), asm.Mov.Reg(asm.R9, asm.R0), // fragment offset
		asm.LoadAbs(23, asm.Byte),
		asm.JEq.Imm(asm.R0, 50, classESP.label()),
		asm.JEq.Imm(asm.R0, 17, "udp"),
		asm.JEq.Imm(asm.R0, 1, "icmp"),
		asm.JNE.Imm(asm.R0, 2, classClear.label()), // IGMP is the host's own noise
		asm.LoadAbs(30, asm.Byte), asm.JEq.Imm(asm.R0, 224, classMulticast.label()),
		asm.Ja.Label(classClear.label()))
}

// icmp tells what a host says of IKE while no gateway runs on it, port unreachable
// about UDP 500 or 4500, from all else.
func (c *classifier) icmp() {
	c.label("icmp", asm.LoadInd(asm.R0, asm.R8, 0, asm.Half)) // type and code
	c.add(asm.JNE.Imm(asm.R0, 0x0303, classClear.label()),
		asm.LoadInd(asm.R0, asm.R8, 8, asm.Byte), // the quoted header
		asm.JNE.Imm(asm.R0, 0x45, classClear.label()),
		asm.LoadInd(asm.R0, asm.R8, 8+9, asm.Byte),
		asm.JNE.Imm(asm.R0, 17, classClear.label()),
		asm.LoadInd(asm.R0, asm.R8, 8+20+2, asm.Half),
		asm.JEq.Imm(asm.R0, 500, classOther.label()),
		asm.JEq.Imm(asm.R0, 4500, classOther.label()),
		asm.Ja.Label(classClear.label()))
}

// ipv6 knows the fragment header and, for MLD, the hop-by-hop header.
func (c *classifier) ipv6(protected []netip.Prefix) {
	c.label("ipv6", asm.Mov.Imm(asm.R0, 0))
	for _, p := range protected {
		if p.Addr().Is6() {
			c.inside(p, 22)
			c.inside(p, 38)
		}
	}
	c.add(asm.Mov.Imm(asm.R8, 54), asm.Mov.Imm(asm.R9, 0),
		asm.LoadAbs(20, asm.Byte), // next header
		asm.JEq.Imm(asm.R0, 50, classESP.label()),
		asm.JEq.Imm(asm.R0, 17, "udp"),
		asm.JEq.Imm(asm.R0, 58, "icmpv6"),
		asm.JEq.Imm(asm.R0, 44, "fragment6"),
		asm.JNE.Imm(asm.R0, 0, classClear.label()),
		asm.LoadAbs(54, asm.Byte), asm.JNE.Imm(asm.R0, 58, classClear.label()),
		asm.LoadAbs(38, asm.Half), asm.JEq.Imm(asm.R0, 0xff02, classMulticast.label()),
		asm.Ja.Label(classClear.label()))
	c.label("icmpv6", asm.LoadAbs(54, asm.Byte)) // 133 to 137: RFC 4861
	c.add(asm.JLT.Imm(asm.R0, 133, classClear.label()), asm.JGT.Imm(asm.R0, 137, classClear.label()),
		asm.Ja.Label(classND.label()))
	c.label("fragment6", asm.LoadAbs(56, asm.Half))
	c.add(asm.And.Imm(asm.R0, 0xfff8), asm.Mov.Reg(asm.R9, asm.R0), asm.Mov.Imm(asm.R8, 62),
		asm.LoadAbs(54, asm.Byte),
		asm.JEq.Imm(asm.R0, 50, classESP.label()),
		asm.JEq.Imm(asm.R0, 17, "udp"),
		asm.Ja.Label(classClear.label()))
}

// udp expects the offset of the UDP header in R8, the fragment offset in R9.
func (c *classifier) udp() {
	c.label("udp", asm.JNE.Imm(asm.R9, 0, classFragment.label()))
	for _, at := range []int32{0, 2} {
		c.add(asm.LoadInd(asm.R0, asm.R8, at, asm.Half),
			asm.JEq.Imm(asm.R0, 500, classIKE.label()),
			asm.JEq.Imm(asm.R0, 4500, "natt"))
	}
	c.add(asm.Ja.Label(classClear.label()))
	c.label("natt", asm.LoadInd(asm.R0, asm.R8, 4, asm.Half)) // UDP length
	c.add(asm.JEq.Imm(asm.R0, 9, classKeepalive.label()),
		asm.LoadInd(asm.R0, asm.R8, 8, asm.Word),
		asm.JEq.Imm(asm.R0, 0, classIKE.label()), // the non-ESP marker
		asm.Ja.Label(classESPinUDP.label()))
}

// inside makes a frame clear whose address at that offset is in p.
func (c *classifier) inside(p netip.Prefix, offset int32) {
	addr, left, miss := p.Masked().Addr().AsSlice(), p.Bits(), c.fresh()
	for i := 0; left > 0; i += 4 {
		bits := min(left, 32)
		left -= bits
		mask := uint32(math.MaxUint32 << (32 - bits))
		c.add(asm.LoadAbs(offset+int32(i), asm.Word),
			asm.LoadImm(asm.R2, int64(mask), asm.DWord), asm.And.Reg(asm.R0, asm.R2),
			asm.LoadImm(asm.R2, int64(binary.BigEndian.Uint32(addr[i:])), asm.DWord),
			asm.JNE.Reg(asm.R0, asm.R2, miss))
	}
	c.add(asm.Ja.Label(classClear.label()))
	c.label(miss, asm.Mov.Imm(asm.R0, 0))
}

func (c *classifier) count(k class) {
	c.add(asm.Mov.Imm(asm.R7, int32(k)))
	c.countR7()
}

// countR7 adds the frame to the map's value of two words, frames and bytes.
func (c *classifier) countR7() {
	after := c.fresh()
	c.add(asm.StoreMem(asm.RFP, -4, asm.R7, asm.Word),
		asm.LoadMapPtr(asm.R1, c.mapFD),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, after),
		asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R6, skbLen, asm.Word),
		asm.Add.Imm(asm.R0, 8), asm.StoreXAdd(asm.R0, asm.R1, asm.DWord))
	c.label(after, asm.Mov.Imm(asm.R0, 0))
}
