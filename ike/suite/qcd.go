package suite

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"spindle/ike/wire"
)

// QCDToken is the token by which this gateway proves, after a crash, that it
// has lost the IKE SA of these SPIs (RFC 6290 §5.1). It needs no state but the
// gateway's secret, which survives a restart and is shared with nobody:
//
//	TOKEN_SECRET_DATA = HASH(QCD_SECRET | SPI-I | SPI-R)
//
// with an HMAC as the hash.
func QCDToken(secret Secret, spiI, spiR wire.SPI) wire.QCDToken {
	mac := hmac.New(sha256.New, secret)
	var spis [16]byte
	binary.BigEndian.PutUint64(spis[:8], uint64(spiI))
	binary.BigEndian.PutUint64(spis[8:], uint64(spiR))
	mac.Write(spis[:])
	return mac.Sum(nil)
}

// VerifyQCD says whether a token that came in the clear is the one that the
// peer gave under protection, in constant time.
func VerifyQCD(kept, shown wire.QCDToken) bool {
	return len(kept) >= wire.MinQCDToken && hmac.Equal(kept, shown)
}
