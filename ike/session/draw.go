package session

import (
	"encoding/binary"
	"fmt"
	"io"

	"spindle/ike/wire"
	"spindle/sadb"
)

// Draw reads unpredictable octets.
func Draw(rand io.Reader, n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(rand, b); err != nil {
		return nil, fmt.Errorf("draw randomness: %w", err)
	}
	return b, nil
}

// NewIKESPI draws our SPI of an IKE SA, in IKEv1 the cookie. RFC 7296 §2.6: "each
// endpoint chooses one of the two SPIs and MUST choose them so as to be unique
// identifiers of an IKE SA"; RFC 2408 §2.5.3 says so of cookies. 64 random bits are
// unique, and zero is none.
func NewIKESPI(rand io.Reader) (wire.SPI, error) {
	b, err := Draw(rand, 8)
	if err != nil {
		return 0, err
	}
	return wire.SPI(binary.BigEndian.Uint64(b) | 1), nil
}

// NewNonce draws a nonce. RFC 7296 §2.10: "at least 128 bits in size, and MUST be at
// least half the key size of the negotiated PRF".
func NewNonce(rand io.Reader) ([]byte, error) { return Draw(rand, 32) }

// SPIBytes is an ESP SPI as messages carry it.
func SPIBytes(spi sadb.SPI) []byte { return binary.BigEndian.AppendUint32(nil, uint32(spi)) }

// ParseSPI reads an ESP SPI: RFC 4303 §2.1 reserves 0 to 255.
func ParseSPI(b []byte) (sadb.SPI, bool) {
	if len(b) != 4 {
		return 0, false
	}
	spi := binary.BigEndian.Uint32(b)
	return sadb.SPI(spi), spi > 255
}
