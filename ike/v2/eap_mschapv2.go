package v2

import (
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"spindle/ike/session"
	"spindle/ike/wire"
)

// Operation codes of EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2 §2).
const (
	chapChallenge = 1
	chapResponse  = 2
	chapSuccess   = 3
	chapFailure   = 4
)

// mschapv2 is the authenticator of EAP-MSCHAPv2:
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |   OpCode      |  MS-CHAPv2-ID |  MS-Length... |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|   MS-Length   |  Value-Size   |           Value               ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                             Name                              ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type mschapv2 struct {
	rand  io.Reader
	users *session.Users
	name  string // ours

	challenge [16]byte
	success   *eapSuccess // the response was right, and our answer is out
	failure   string      // it was wrong
}

func newMSCHAPv2(rand io.Reader, users *session.Users, name string) *mschapv2 {
	return &mschapv2{rand: rand, users: users, name: name}
}

func (c *mschapv2) kind() wire.EAPType { return wire.EAPMSCHAPv2 }

func (c *mschapv2) close() {}

// chapID numbers challenges. One conversation has one.
const chapID = 1

func chapPacket(op uint8, body []byte) []byte {
	p := []byte{op, chapID}
	p = binary.BigEndian.AppendUint16(p, uint16(4+len(body)))
	return append(p, body...)
}

func (c *mschapv2) begin() ([]byte, error) {
	if _, err := io.ReadFull(c.rand, c.challenge[:]); err != nil {
		return nil, fmt.Errorf("draw MSCHAPv2 challenge: %w", err)
	}
	body := append([]byte{byte(len(c.challenge))}, c.challenge[:]...)
	return chapPacket(chapChallenge, append(body, c.name...)), nil
}

// answer takes the response, and after it the acknowledgement of what we said
// to it.
func (c *mschapv2) answer(data []byte) eapStep {
	switch {
	case len(data) == 0:
		return eapStep{failure: "peer sends an empty MSCHAPv2 response"}
	case c.failure != "":
		return eapStep{failure: c.failure}
	case c.success != nil && data[0] == chapSuccess:
		return eapStep{success: c.success}
	case c.success != nil:
		return eapStep{failure: fmt.Sprintf("peer does not believe that we know the password of %s", printable(c.success.user))}
	}
	r, ok := parseChapResponse(data)
	if !ok {
		return eapStep{failure: "peer sends a malformed MSCHAPv2 response"}
	}
	return c.check(r)
}

// check compares the response with the one that the user's password gives. Windows
// puts a domain in front of the name where its user wrote one.
func (c *mschapv2) check(r chapReply) eapStep {
	name := r.name
	secret, known := c.users.Find(name)
	if !known {
		name = withoutDomain(name)
		secret, known = c.users.Find(name)
	}
	if !known {
		c.failure = fmt.Sprintf("user %s is not known (configuration key: users)", printable(r.name))
		return c.refuse()
	}
	hash := ntPasswordHash(string(secret.Password))
	if secret.NTHash != nil {
		copy(hash[:], secret.NTHash)
	}
	challenge := challengeHash(r.challenge, c.challenge, withoutDomain(r.name))
	want := challengeResponse(challenge, hash)
	if subtle.ConstantTimeCompare(want[:], r.response[:]) != 1 {
		c.failure = fmt.Sprintf("wrong password of user %s (configuration key: users)", printable(r.name))
		return c.refuse()
	}
	hashHash := md4Sum(hash[:])
	c.success = &eapSuccess{user: name, msk: chapMSK(hashHash, r.response)}
	proof := authenticatorResponse(hashHash, r.response, challenge)
	return eapStep{request: chapPacket(chapSuccess, []byte("S="+strings.ToUpper(hex.EncodeToString(proof[:]))+" M=OK"))}
}

// refuse tells the peer that it may not try again: error 691 is "authentication
// failure" (RFC 2759 §6).
func (c *mschapv2) refuse() eapStep {
	text := fmt.Sprintf("E=691 R=0 C=%X V=3 M=Authentication failed", c.challenge)
	return eapStep{request: chapPacket(chapFailure, []byte(text)), failure: c.failure}
}

// chapReply is the Response packet: the value of 49 octets is the peer's
// challenge, 8 octets reserved, the NT-Response, and flags.
type chapReply struct {
	challenge [16]byte
	response  [24]byte
	name      string
}

func parseChapResponse(data []byte) (chapReply, bool) {
	const value, name = 5, 5 + 49
	if len(data) < name || data[0] != chapResponse || data[1] != chapID || data[4] != 49 ||
		int(binary.BigEndian.Uint16(data[2:])) != len(data) {
		return chapReply{}, false
	}
	r := chapReply{name: string(data[name:])}
	copy(r.challenge[:], data[value:])
	copy(r.response[:], data[value+16+8:])
	return r, len(r.name) > 0 && len(r.name) <= 256
}

// withoutDomain: RFC 2759 §4, "the Name field ... excludes the domain" where a
// client puts one in front.
func withoutDomain(name string) string {
	if i := strings.LastIndexByte(name, '\\'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// printable keeps a user name from forging log lines.
func printable(name string) string {
	return session.Identity{Type: session.IDFQDN, Data: bytes.Clone([]byte(name))}.String()
}
