package keysock

import (
	"errors"
	"fmt"

	"spindle/sadb"
)

// Handler does in the data path what the control process asks for. Its methods
// are called one at a time, in the order of the messages; an error becomes the
// text of the Ack.
type Handler interface {
	// Add returns once every worker sees the SA (inbound) or uses it (outbound).
	Add(sa sadb.SA) error
	Update(Update) error
	Delete(Delete) error
	Flush() error
	PolicyAdd(sadb.Policy) error
	PolicyDelete(sadb.PolicyID) error
	HostAddress(HostAddress) error
	// Dump, Stats and Translations call emit for each answer and stop at its error.
	Dump(emit func(Usage) error) error
	Stats(emit func(Counters) error) error
	Translations(emit func(Translation) error) error
	// Inject sends an IKE datagram; nobody waits for it.
	Inject(Inject)
	// Keepalive sends a NAT keepalive where one is needed; nobody waits for it.
	Keepalive(Keepalive)
}

// Serve answers the control process until the socket is closed, and returns
// that error. A message that does not parse or has no business here is refused
// in its Ack; it does not end the conversation.
func Serve(c *Conn, h Handler) error {
	for {
		seq, m, err := c.Receive()
		switch {
		case errors.Is(err, ErrMalformed):
		case err != nil:
			return err
		default:
			if told(m, h) {
				continue
			}
			err = answer(c, seq, m, h)
		}
		if err := c.Send(seq, Ack{Err: errText(err)}); err != nil {
			return err
		}
	}
}

// told has the handler do what has no Ack, and reports whether the message is
// of that kind.
func told(m Message, h Handler) bool {
	switch m := m.(type) {
	case Inject:
		h.Inject(m)
	case Keepalive:
		h.Keepalive(m)
	default:
		return false
	}
	return true
}

// answer has the handler do what the message asks for.
func answer(c *Conn, seq uint32, m Message, h Handler) error {
	switch m := m.(type) {
	case Add:
		return h.Add(m.SA)
	case Update:
		return h.Update(m)
	case Delete:
		return h.Delete(m)
	case Flush:
		return h.Flush()
	case PolicyAdd:
		return h.PolicyAdd(m.Policy)
	case PolicyDelete:
		return h.PolicyDelete(m.ID)
	case HostAddress:
		return h.HostAddress(m)
	case Dump:
		return h.Dump(func(u Usage) error { return c.Send(seq, u) })
	case Stats:
		return h.Stats(func(n Counters) error { return c.Send(seq, n) })
	case Translations:
		return h.Translations(func(t Translation) error { return c.Send(seq, t) })
	}
	return fmt.Errorf("%v is not for the data path", m.verb())
}

// maxErrText keeps an error's text within a message.
const maxErrText = 1 << 10

func errText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if text == "" {
		return "refused without a reason"
	}
	return text[:min(len(text), maxErrText)]
}
