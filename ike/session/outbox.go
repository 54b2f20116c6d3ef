package session

import "log/slog"

// Outbox collects the outputs of one step in the order in which they must
// happen (see Output).
type Outbox struct{ list []Output }

// Put appends outputs.
func (b *Outbox) Put(outputs ...Output) { b.list = append(b.list, outputs...) }

// Audit appends one line for the operator.
func (b *Outbox) Audit(level slog.Level, event string, attrs ...slog.Attr) {
	b.Put(Audit{Level: level, Event: event, Attrs: attrs})
}

// Take empties the outbox and returns what was in it.
func (b *Outbox) Take() []Output {
	list := b.list
	b.list = nil
	return list
}
