package session

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"spindle/sadb"
)

// DefaultIKELifetime is how long an IKE SA lives when its connection does not say.
const DefaultIKELifetime = 4 * time.Hour

// Soft derives the bound at which an SA is rekeyed from the one at which it is
// deleted: a share between 85 % and 95 %, drawn anew for each SA so that two
// gateways, or a thousand tunnels started together, do not rekey at one moment
// (RFC 7296 §2.8: "the timing of rekeying requests SHOULD be jittered").
func Soft(rand io.Reader, hard sadb.Lifetime) (sadb.Lifetime, error) {
	var draw [2]byte
	if _, err := io.ReadFull(rand, draw[:]); err != nil {
		return sadb.Lifetime{}, fmt.Errorf("draw jitter: %w", err)
	}
	share := 0.85 + 0.10*float64(binary.BigEndian.Uint16(draw[:]))/65535
	return sadb.Lifetime{
		Time:    time.Duration(share * float64(hard.Time)),
		Bytes:   uint64(share * float64(hard.Bytes)),
		Packets: uint64(share * float64(hard.Packets)),
	}, nil
}
