package esp

import "sync/atomic"

// Counters are the plain figures of one SA. Only its owner worker touches them.
type Counters struct {
	Packets, Bytes uint64 // bytes of inner packets
	Drops          uint64
	LastUsed       int64 // what the caller's clock said at the last good packet, 0 never

	published struct {
		packets, bytes, drops, sequence atomic.Uint64
		lastUsed                        atomic.Int64
	}
}

// Usage is a copy of the counters as of the last Publish.
type Usage struct {
	Packets, Bytes, Drops uint64
	Sequence              uint64 // outbound: last sent; inbound: highest that authenticated
	LastUsed              int64
}

func (c *Counters) count(bytes int, now int64) {
	c.Packets++
	c.Bytes += uint64(bytes)
	c.LastUsed = now
}

func (c *Counters) publish(sequence uint64) {
	c.published.packets.Store(c.Packets)
	c.published.bytes.Store(c.Bytes)
	c.published.drops.Store(c.Drops)
	c.published.sequence.Store(sequence)
	c.published.lastUsed.Store(c.LastUsed)
}

// Usage reads what was last published. Any goroutine may call it.
func (c *Counters) Usage() Usage {
	return Usage{
		Packets:  c.published.packets.Load(),
		Bytes:    c.published.bytes.Load(),
		Drops:    c.published.drops.Load(),
		Sequence: c.published.sequence.Load(),
		LastUsed: c.published.lastUsed.Load(),
	}
}
