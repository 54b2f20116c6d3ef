package session

import (
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"spindle/ike/suite"
	"spindle/sadb"
)

// LingerTime is how long the inbound half of a deleted child SA still takes
// packets that were under way.
const LingerTime = 5 * time.Second

// ChildTerms are what the two ends agreed on for one child SA.
type ChildTerms struct {
	Conn              *Connection
	Conf              *Child
	In, Out           sadb.SPI // chosen by us and by the peer
	KeyIn, KeyOut     sadb.Key
	Suite             suite.Proposal
	Mode              sadb.Mode
	Lifetime          sadb.Lifetime
	Local, Remote     netip.AddrPort
	Encap             bool
	LocalTS, RemoteTS []sadb.Selector
}

// ChildSA is a pair of ESP SAs and the SPD entry it serves, as far as both
// versions of IKE hold it alike: how it is put in place, carries traffic and goes.
// When each of that happens is what the versions differ in.
type ChildSA struct {
	Conn              *Connection
	Conf              *Child
	In, Out           sadb.SPI
	Suite             suite.Proposal
	Mode              sadb.Mode
	Encap             bool
	LocalTS, RemoteTS []sadb.Selector

	Created     time.Time
	SwitchAt    time.Time // send
	SoftAt      time.Time // rekey
	HardAt      time.Time // delete
	LingerUntil time.Time // is gone

	inbound, outbound *sadb.SA // made, and not yet in place
	sends             bool
	binding           *Binding
	keyIn, keyOut     string // fingerprints
}

// NewChildSA makes both halves. Neither is in place yet.
func NewChildSA(now time.Time, rand io.Reader, t ChildTerms) (ChildSA, error) {
	soft, err := Soft(rand, t.Lifetime)
	if err != nil {
		return ChildSA{}, err
	}
	c := ChildSA{
		Conn: t.Conn, Conf: t.Conf, In: t.In, Out: t.Out, Suite: t.Suite, Mode: t.Mode, Encap: t.Encap,
		LocalTS: t.LocalTS, RemoteTS: t.RemoteTS, Created: now,
		keyIn: t.KeyIn.Fingerprint(), keyOut: t.KeyOut.Fingerprint(),
	}
	if hard := t.Lifetime.Time; hard > 0 {
		c.SoftAt, c.HardAt = now.Add(soft.Time), now.Add(hard)
	}
	half := sadb.SA{
		ESN: t.Suite.ESN, ReplayWindow: t.Conf.ReplayWindow, Suite: t.Suite.Suite(),
		Soft: soft, Hard: t.Lifetime, Idle: t.Conf.Idle, Silence: t.Conn.DPD.Watch(), Mode: t.Mode,
		Local: t.Local, Remote: t.Remote, Encap: t.Encap,
		LocalTS: t.LocalTS, RemoteTS: t.RemoteTS,
		Pair: t.In, Conn: t.Conn.Name, Child: t.Conf.Name,
	}
	t.Conf.Shape(&half)
	t.Conn.Conceal(t.Conf, &half)
	inbound, outbound := half, half
	inbound.SPI, inbound.Direction, inbound.Key = t.In, sadb.Inbound, t.KeyIn
	outbound.SPI, outbound.Direction, outbound.Key = t.Out, sadb.Outbound, t.KeyOut
	c.inbound, c.outbound = &inbound, &outbound
	return c, nil
}

// Install puts the inbound half in place. The outbound half, which will serve that
// SPD entry, waits for SwitchOver.
func (c *ChildSA) Install(out *Outbox, b *Binding) {
	c.binding, c.outbound.Policy = b, b.Policy.ID
	out.Put(AddSA{SA: *c.inbound})
	c.inbound = nil
}

// Share is the SPD entry that a child SA serves, for another with the same
// selectors: the data path switches at once. It is nil when there is none.
func (c *ChildSA) Share() *Binding {
	if c.binding == nil {
		return nil
	}
	return c.binding.Retain()
}

// SwitchOver installs the outbound half: from here on the policy's packets leave
// by this SA. It reports whether there was anything to install.
func (c *ChildSA) SwitchOver(out *Outbox) bool {
	if c.outbound == nil {
		return false
	}
	out.Put(AddSA{SA: *c.outbound})
	c.outbound, c.SwitchAt, c.sends = nil, time.Time{}, true
	return true
}

// Waits reports whether the outbound half is still to be installed, Sends whether it is.
func (c *ChildSA) Waits() bool { return c.outbound != nil }
func (c *ChildSA) Sends() bool { return c.sends }

// Withhold keeps the outbound half from being installed.
func (c *ChildSA) Withhold() { c.outbound, c.SwitchAt = nil, time.Time{} }

// Hush stops sending on the child SA, for ever.
func (c *ChildSA) Hush(out *Outbox) {
	if c.sends {
		out.Put(DeleteSA{Direction: sadb.Outbound, Pair: c.In})
	}
	c.sends = false
	c.Withhold()
}

// Linger stops sending and keeps the inbound half for packets under way.
func (c *ChildSA) Linger(now time.Time, out *Outbox) {
	c.Hush(out)
	c.SoftAt, c.HardAt, c.LingerUntil = time.Time{}, time.Time{}, now.Add(LingerTime)
	c.release(out)
}

// Remove takes the child SA away in both directions.
func (c *ChildSA) Remove(out *Outbox) {
	c.Hush(out)
	out.Put(DeleteSA{Direction: sadb.Inbound, Pair: c.In})
	c.release(out)
}

// release lets go of the SPD entry.
func (c *ChildSA) release(out *Outbox) {
	if c.binding != nil {
		c.binding.Release(out)
		c.binding = nil
	}
}

// Move gives the child SA other endpoints. What does not send is left where it is:
// only the peer needs to know where packets come from.
func (c *ChildSA) Move(out *Outbox, local, remote netip.AddrPort, encap bool) {
	c.Encap = encap
	if c.outbound != nil {
		c.outbound.Local, c.outbound.Remote, c.outbound.Encap = local, remote, encap
	}
	if c.sends {
		out.Put(UpdateSA{Pair: c.In, Local: local, Remote: remote, Encap: encap})
	}
}

// SameSelectors reports whether both carry the same packets.
func (c *ChildSA) SameSelectors(o *ChildSA) bool {
	return slices.Equal(c.LocalTS, o.LocalTS) && slices.Equal(c.RemoteTS, o.RemoteTS)
}

// Carries reports whether the selectors admit a packet, as the SPD sees it; the zero
// flow is any.
func (c *ChildSA) Carries(flow sadb.Flow) bool {
	matches := func(set []sadb.Selector, addr netip.Addr, port uint16) bool {
		return slices.ContainsFunc(set, func(s sadb.Selector) bool { return s.Matches(addr, flow.Protocol, port) })
	}
	return flow == sadb.Flow{} ||
		matches(c.Conn.Inside(c.Conf, c.LocalTS), flow.Src, flow.SrcPort) && matches(c.RemoteTS, flow.Dst, flow.DstPort)
}

// Due is when the child SA wants attention, zero for never.
func (c *ChildSA) Due() time.Time { return Earliest(c.SwitchAt, c.SoftAt, c.HardAt, c.LingerUntil) }

// Named are the words by which the log knows the child SA.
func (c *ChildSA) Named(more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{slog.String("child", c.Conf.Name),
		slog.String("spi_in", c.In.String()), slog.String("spi_out", c.Out.String())}, more...)
}

// Described is what the log says of one that stands.
func (c *ChildSA) Described() []slog.Attr {
	return c.Named(slog.String("suite", c.Suite.String()), slog.Bool("encap", c.Encap),
		slog.String("local_ts", FormatSelectors(c.LocalTS)), slog.String("remote_ts", FormatSelectors(c.RemoteTS)),
		slog.String("key_in", c.keyIn), slog.String("key_out", c.keyOut))
}

// Status is the child SA as an operator sees it.
func (c *ChildSA) Status(now time.Time, state string, local, remote netip.AddrPort) ChildStatus {
	return ChildStatus{
		Conn: c.Conn.Name, Child: c.Conf.Name, State: state,
		SPIIn: c.In, SPIOut: c.Out, Suite: c.Suite.String(), Encap: c.Encap, Mode: c.Mode,
		Local: local, Remote: remote, LocalTS: c.LocalTS, RemoteTS: c.RemoteTS,
		KeyIn: c.keyIn, KeyOut: c.keyOut,
		Age: now.Sub(c.Created), RekeyIn: Until(now, c.SoftAt), ExpiresIn: Until(now, c.HardAt),
	}
}

// FormatSelectors writes selectors for the operator.
func FormatSelectors(list []sadb.Selector) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = s.String()
	}
	return strings.Join(words, " ")
}
