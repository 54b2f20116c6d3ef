package ike

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"time"

	"spindle/ike/wire"
)

// What strangers can make the engine hold or send. A half-open IKE SA costs us
// a key exchange and some kilobytes until it is established or times out.
const (
	cookieThreshold = 32               // half-open IKE SAs from which on a cookie is asked for
	halfOpenLimit   = 1000             // and from which on nobody is let in
	v1Limit         = 500              // and from which on none of IKEv1 is: without cookies anybody can open those
	sourceShare     = 100              // of those, from one address once cookies are asked for
	cookieLife      = 30 * time.Second // a secret is used that long, and honoured as long again

	strayRate   = 10 // unprotected answers and log lines about strangers, per second
	strayBurst  = 20
	noticeRate  = 1 // INVALID_SPI to one peer, per second
	noticeBurst = 5
	sourceLimit = 1024 // sources of unknown SPIs that are told apart
	sourceQuiet = 10 * time.Second
)

// bucket is a token bucket on the engine's clock. It starts full.
type bucket struct {
	rate, burst float64
	spent       float64
	at          time.Time
}

func (b *bucket) take(now time.Time) bool {
	if since := now.Sub(b.at); since > 0 {
		b.spent = max(0, b.spent-b.rate*since.Seconds())
		b.at = now
	}
	if b.spent+1 > b.burst {
		return false
	}
	b.spent++
	return true
}

// cookies makes and checks the cookies of RFC 7296 §2.6 without keeping
// anything about those that asked: "Cookie = <VersionIDofSecret> |
// Hash(Ni | IPi | SPIi | <secret>)", with an HMAC for the hash.
type cookies struct {
	rand    io.Reader
	version uint8
	secrets [2][32]byte // the one in use and the one before
	until   time.Time
}

func (c *cookies) make(now time.Time, nonce []byte, from netip.AddrPort, spi wire.SPI) ([]byte, error) {
	if err := c.rotate(now); err != nil {
		return nil, err
	}
	return c.sign(0, nonce, from, spi), nil
}

func (c *cookies) check(now time.Time, cookie, nonce []byte, from netip.AddrPort, spi wire.SPI) bool {
	if c.rotate(now) != nil || len(cookie) == 0 {
		return false
	}
	age := c.version - cookie[0]
	return age < uint8(len(c.secrets)) && subtle.ConstantTimeCompare(cookie, c.sign(age, nonce, from, spi)) == 1
}

func (c *cookies) sign(age uint8, nonce []byte, from netip.AddrPort, spi wire.SPI) []byte {
	mac := hmac.New(sha256.New, c.secrets[age][:])
	mac.Write(nonce)
	addr := from.Addr().As16()
	mac.Write(addr[:])
	mac.Write(binary.BigEndian.AppendUint16(nil, from.Port()))
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(spi)))
	return mac.Sum([]byte{c.version - age})
}

// rotate draws a new secret when the one in use is old. After a long silence
// neither of the old ones is honoured.
func (c *cookies) rotate(now time.Time) error {
	if now.Before(c.until) {
		return nil
	}
	fresh := [2][32]byte{{}, c.secrets[0]}
	if _, err := io.ReadFull(c.rand, fresh[0][:]); err != nil {
		return fmt.Errorf("draw cookie secret: %w", err)
	}
	if now.After(c.until.Add(cookieLife)) {
		if _, err := io.ReadFull(c.rand, fresh[1][:]); err != nil {
			return fmt.Errorf("draw cookie secret: %w", err)
		}
	}
	c.secrets, c.until = fresh, now.Add(cookieLife)
	c.version++
	return nil
}
