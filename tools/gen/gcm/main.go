// Command gcm writes the assembly of datapath/esp/gcm: AES-GCM as NIST SP 800-38D
// defines it, for packets of ESP (RFC 4106), on AVX-512 registers of four blocks.
//
// # Lanes
//
// The kernel sees a packet as a row of blocks, four to a register, that starts two
// blocks before the text:
//
//	lane         0          1        2     3     4   ...
//	counter      0          1        2     3     4        as encrypted
//	data         -          -        C1    C2    C3
//	hashed as    lengths    AAD      C1    C2    C3
//
// Counter 1 is J0, whose encryption masks the tag; text begins with counter 2
// (SP 800-38D §7.1). So one register holds J0 and the first counters, and the AAD,
// which in ESP is one block, stands where the hash wants it: just before C1. Lane
// 0 is free, and a packet that is hashed in one piece puts the length block there.
//
// # Pieces
//
// Up to 5 registers (288 bytes of text) are straight code, one piece for each
// number of registers, hashed with one reduction. Longer packets go in groups of 4
// registers: the AES rounds of one group stand between the multiplications for
// another (sealing: the group before, opening: the same), because the two use
// different execution ports. What is left, 5 to 20 blocks, ends as a short packet does.
//
// # Tail
//
// What ESP adds behind the packet it carries, padding, pad length and next header
// (RFC 4303 §2), is not in the same memory unless somebody copies the packet. So
// sealing takes up to 8 bytes by value, and puts them behind the text in the last
// register. The caller sees to it that they do not begin in the register before.
//
// # Hash
//
// X1*H^n + X2*H^(n-1) + ... + Xn*H is summed unreduced and reduced once. Between
// groups the four lanes stay apart: each is multiplied by H^16, H^12, H^8, H^4 in
// turn, and only the last piece gives each lane its own power and adds them up.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/buildtags"
)

func main() {
	Constraint(buildtags.Term("amd64"))
	c := newConstants()
	for _, open := range []bool{false, true} {
		for _, rounds := range []int{10, 12, 14} {
			k := &kernel{constants: c, rounds: rounds, open: open}
			k.emit()
		}
	}
	Generate()
}

// name is how the package calls this kernel.
func (k *kernel) name() string {
	verb := "seal"
	if k.open {
		verb = "open"
	}
	return fmt.Sprintf("%sAES%d", verb, 32*(k.rounds-6))
}
