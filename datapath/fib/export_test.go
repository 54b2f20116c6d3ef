package fib

// Shrink leaves room for a few events only.
func (m *Mirror) Shrink() error { return m.events.SetReceiveBufferSize(4096, true) }
