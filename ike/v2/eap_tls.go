package v2

import (
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/wire"
)

// Flags of EAP-TLS (RFC 5216 §3.1).
const (
	tlsLength = 0x80 // the four octets of TLS Message Length are there
	tlsMore   = 0x40
	tlsStart  = 0x20
)

const (
	tlsFragment   = 1000  // octets of TLS in one request: IKE on a link of 1280 octets holds it
	maxTLSMessage = 65536 // of the peer, in all its fragments
)

// eapTLS is the server of EAP-TLS (RFC 5216; RFC 9190 for TLS 1.3). It cuts and
// joins fragments around a handshake that the wiring runs.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     Type      |     Flags     |      TLS Message Length
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	|     TLS Message Length        |       TLS Data...
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type eapTLS struct {
	server session.TLSServer
	chain  []*x509.Certificate // of the peer, once it was verified
	reason string              // why it was not

	in      []byte // fragments so far
	out     []byte // what is still to be sent
	done    bool
	failure string
}

func newEAPTLS(now time.Time, begin session.TLS, conn *session.Connection) *eapTLS {
	t := &eapTLS{}
	t.server = begin(session.TLSConfig{
		Now: now, Credential: conn.Credential, Authorities: conn.Trust.Authorities,
		Verify: func(sent []*x509.Certificate) error {
			if t.chain, t.reason = conn.Trust.Verify(now, sent); t.reason != "" {
				return errors.New(t.reason)
			}
			return nil
		},
	})
	return t
}

func (t *eapTLS) kind() wire.EAPType { return wire.EAPTLS }

func (t *eapTLS) close() { t.server.Close() }

func (t *eapTLS) begin() ([]byte, error) { return []byte{tlsStart}, nil }

// answer joins a fragment, acknowledges it, or hands the whole to the handshake.
func (t *eapTLS) answer(data []byte) eapStep {
	if len(data) == 0 {
		return eapStep{failure: "peer sends EAP-TLS without flags"}
	}
	flags, data := data[0], data[1:]
	if flags&tlsLength != 0 {
		if len(data) < 4 || binary.BigEndian.Uint32(data) > maxTLSMessage {
			return eapStep{failure: "peer sends an EAP-TLS message of a wrong length"}
		}
		data = data[4:]
	}
	switch {
	case len(t.out) > 0 && len(data) == 0:
		return t.next() // our last fragment is acknowledged
	case len(t.out) > 0:
		return eapStep{failure: "peer does not acknowledge a fragment of EAP-TLS"}
	case len(t.in)+len(data) > maxTLSMessage:
		return eapStep{failure: "peer sends an EAP-TLS message without end"}
	}
	t.in = append(t.in, data...)
	if flags&tlsMore != 0 {
		return eapStep{request: []byte{0}}
	}
	return t.step()
}

// step drives the handshake. Its end comes with something to send, whose
// acknowledgement is the end of the method.
func (t *eapTLS) step() eapStep {
	switch {
	case t.failure != "":
		return eapStep{failure: t.failure}
	case t.done:
		return t.finish()
	}
	in := t.in
	t.in = nil
	out, done, err := t.server.Step(in)
	if err != nil {
		t.failure = "TLS: " + err.Error()
		if t.reason != "" {
			t.failure = t.reason
		}
	}
	t.out, t.done = out, done
	if len(out) > 0 && err != nil {
		step := t.next() // the alert
		step.failure = t.failure
		return step
	}
	if len(out) == 0 {
		if err == nil && !done {
			t.failure = "TLS: peer sends half a message"
		}
		return t.step()
	}
	return t.next()
}

// next is a fragment of what is to be sent, the first with the length of all.
func (t *eapTLS) next() eapStep {
	n := min(len(t.out), tlsFragment)
	head := []byte{0}
	if n < len(t.out) {
		head[0] = tlsMore | tlsLength
		head = binary.BigEndian.AppendUint32(head, uint32(len(t.out)))
	}
	request := append(head, t.out[:n]...)
	t.out = t.out[n:]
	return eapStep{request: request}
}

// finish makes the MSK: RFC 5216 §2.3, and for TLS 1.3 RFC 9190 §2.3.
func (t *eapTLS) finish() eapStep {
	label, context := "client EAP encryption", []byte(nil)
	if t.server.Version() >= 0x0304 {
		label, context = "EXPORTER_EAP_TLS_Key_Material", []byte{byte(wire.EAPTLS)}
	}
	keys, err := t.server.Export(label, context, 128)
	if err != nil {
		return eapStep{failure: fmt.Sprintf("TLS: export keys: %v", err)}
	}
	return eapStep{success: &eapSuccess{msk: suite.Secret(keys[:64]), user: nameOf(t.chain[0]), chain: t.chain}}
}

// nameOf is the identity that a user's certificate proves: a mailbox or name if
// it has one, else its subject.
func nameOf(c *x509.Certificate) string {
	switch {
	case len(c.EmailAddresses) > 0:
		return c.EmailAddresses[0]
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return session.Subject(c)
}
