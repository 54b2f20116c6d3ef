package esp

import (
	"encoding/binary"
	"math"
)

// When a peer has sent more than 2^32 packets of which none arrived, the high
// half of the sequence number is wrong for good, and with it every ICV. RFC 4303
// appendix A3: after a number of failures in a row, try the next high halves.
const (
	resyncAfter = 64 // failures in a row
	resyncTries = 4  // high halves: 2^34 packets lost
)

// resynchronize finds the sequence number of a packet whose ICV is wrong under
// the number that the window gave it, once in so many failures: what forged
// packets cost grows by one sixteenth. It is false when the ICV stays wrong.
func (in *Inbound) resynchronize(body, esp []byte) (uint64, bool) {
	if in.failed++; !in.window.esn || in.failed < resyncAfter {
		return 0, false
	}
	in.failed = 0
	low := binary.BigEndian.Uint32(esp[4:])
	for high := in.window.top>>32 + 1; high <= in.window.top>>32+resyncTries && high <= math.MaxUint32; high++ {
		seq := high<<32 | uint64(low)
		if seq > in.window.top && in.protector.open(body, esp, seq) {
			return seq, true
		}
	}
	return 0, false
}
