package sim_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"spindle/ike/session"
	"spindle/ike/sim"
	"spindle/sadb"
)

// broken is an engine with a fault: it changes what goes in or comes out.
type broken struct {
	sim.Machine
	in  func(session.Input) session.Input
	out func([]session.Output) []session.Output
	due func(time.Time) time.Time
}

func (b *broken) Step(now time.Time, in session.Input) []session.Output {
	if b.in != nil {
		in = b.in(in)
	}
	out := b.Machine.Step(now, in)
	if b.out != nil {
		out = b.out(out)
	}
	return out
}

func (b *broken) Deadline() time.Time {
	if due := b.Machine.Deadline(); b.due != nil {
		return b.due(due)
	} else {
		return due
	}
}

// output makes a fault of a change to what one step puts out. Each machine gets
// one of its own, so that it may remember things.
func output(fault func() func([]session.Output) []session.Output) sim.Options {
	return sim.Options{Machine: func(m sim.Machine) sim.Machine { return &broken{Machine: m, out: fault()} }}
}

func input(fault func(session.Input) session.Input) sim.Options {
	return sim.Options{Machine: func(m sim.Machine) sim.Machine { return &broken{Machine: m, in: fault} }}
}

// behindNAT are histories in which a peer may move.
func behindNAT(o sim.Options) sim.Options {
	o.NAT = true
	return o
}

// without drops outputs.
func without(drop func(session.Output) bool) func([]session.Output) []session.Output {
	return func(out []session.Output) []session.Output { return slices.DeleteFunc(slices.Clone(out), drop) }
}

func isDelete(o session.Output, d sadb.Direction) bool {
	del, ok := o.(session.DeleteSA)
	return ok && del.Direction == d
}

// fault is a machine that must be caught, and by what.
type fault struct {
	name    string
	options sim.Options
	caught  string // part of what the simulator says
}

// faults are those that both versions of IKE can have.
var faults = []fault{
	{"message sent before the SA is installed", output(swapInstall), "before it is installed"},
	{"old inbound SA deleted with the outbound one", output(noLinger), "delete of an inbound SA that is not there"},
	{"inbound SA deleted silently with the outbound one", output(noLingerTidy), "refused"},
	{"inbound SA never deleted", output(keepInbound), ""},
	{"outbound SA never deleted", output(keepOutbound), ""},
	{"policy never removed", output(keepPolicy), "policies are left"},
	{"key of one end wrong", output(wrongKey), "different keys"},
	{"moved peer not followed", behindNAT(output(noUpdate)), ""},
	{"SPI never freed", sim.Options{SPIs: func(s session.SPIs) session.SPIs { return hoarder{s} }}, "SPIs"},
	{"SPI freed twice", sim.Options{SPIs: func(s session.SPIs) session.SPIs { return twice{s} }}, "not held"},
	{"sequence number not moved ahead after a restart", sim.Options{Jump: func(uint64) uint64 { return 0 }}, "used twice"},
	{"timer that is never stopped", sim.Options{Machine: func(m sim.Machine) sim.Machine {
		return &broken{Machine: m, due: leak()}
	}}, "a timer is left"},
	{"timer that fires without end", sim.Options{Machine: func(m sim.Machine) sim.Machine {
		return &broken{Machine: m, due: func(time.Time) time.Time { return time.Unix(1, 0) }}
	}}, "without end"},
	{"timers forgotten", sim.Options{Machine: func(m sim.Machine) sim.Machine {
		return &broken{Machine: m, due: func(time.Time) time.Time { return time.Time{} }}
	}}, ""},
	{"first packets ignored", input(ignore[session.Acquire]), "nothing"},
	{"unknown SPIs ignored", input(ignore[session.UnknownSPI]), "nothing arrived"},
}

// ownFaults are those of one version.
var ownFaults = map[int][]fault{
	1: {
		{"message ID used for two exchanges", output(reuseExchange), "used for two exchanges"},
		{"message not encrypted", output(inTheClear), "not encrypted"},
		{"message not repeated", output(noSecondTime), ""},
		{"informational exchanges left out", output(noInformational), ""},
		// IKEv2 would still learn of a reboot by a crash token.
		{"silence of the peer ignored", input(ignore[session.Silence]), "nothing arrived"},
	},
	2: {
		{"message ID used again", output(reuseID), "message ID"},
		{"response not repeated", output(noRepeat), ""},
		{"request not repeated", output(noRetransmission), ""},
	},
}

// TestBrokenMachines: an invariant that no fault can break proves nothing.
func TestBrokenMachines(t *testing.T) {
	for version, own := range ownFaults {
		for _, f := range slices.Concat(faults, own) {
			t.Run(fmt.Sprintf("IKEv%d %s", version, f.name), func(t *testing.T) {
				f.options.Version = version
				f.mustBeCaught(t)
			})
		}
	}
}

func (f fault) mustBeCaught(t *testing.T) {
	var found atomic.Pointer[string]
	each(500, func(seed uint64) {
		if found.Load() != nil {
			return
		}
		o := f.options
		o.Seed = seed
		for _, failure := range sim.Run(o).Failures {
			if strings.Contains(failure, f.caught) {
				found.Store(&failure)
			}
		}
	})
	if found.Load() == nil {
		t.Fatal("nothing was noticed")
	}
	t.Logf("caught: %s", *found.Load())
}

// swapInstall puts what installs inbound SAs behind the messages.
func swapInstall() func([]session.Output) []session.Output {
	return func(out []session.Output) []session.Output {
		out = slices.Clone(out)
		slices.SortStableFunc(out, func(a, b session.Output) int { return rank(a) - rank(b) })
		return out
	}
}

func rank(o session.Output) int {
	switch o.(type) {
	case session.Audit, session.Policy:
		return 0
	case session.Send:
		return 1
	}
	return 2
}

// noLinger deletes both halves at once, and the inbound one a second time.
func noLinger() func([]session.Output) []session.Output {
	return func(out []session.Output) []session.Output {
		var all []session.Output
		for _, o := range out {
			all = append(all, o)
			if d, ok := o.(session.DeleteSA); ok && d.Direction == sadb.Outbound {
				all = append(all, session.DeleteSA{Direction: sadb.Inbound, Pair: d.Pair})
			}
		}
		return all
	}
}

// noLingerTidy does so and knows that it did.
func noLingerTidy() func([]session.Output) []session.Output {
	gone := map[sadb.SPI]bool{}
	return func(out []session.Output) []session.Output {
		var all []session.Output
		for _, o := range out {
			d, ok := o.(session.DeleteSA)
			if ok && d.Direction == sadb.Inbound && gone[d.Pair] {
				continue
			}
			all = append(all, o)
			if ok && d.Direction == sadb.Outbound {
				gone[d.Pair] = true
				all = append(all, session.DeleteSA{Direction: sadb.Inbound, Pair: d.Pair})
			}
		}
		return all
	}
}

// Where things are in an IKE header (RFC 7296 §3.1, RFC 2408 §3.1).
const (
	exchangeAt  = 18
	flagsAt     = 19
	messageIDAt = 20
)

const informationalV1 = 5

// reuseID gives every other message the ID of the one before.
func reuseID() func([]session.Output) []session.Output {
	return func(out []session.Output) []session.Output {
		for i, o := range out {
			s, ok := o.(session.Send)
			if !ok || len(s.Data) < 28 {
				continue
			}
			if id := binary.BigEndian.Uint32(s.Data[messageIDAt:]); id > 2 && id%2 == 1 {
				s.Data = slices.Clone(s.Data)
				binary.BigEndian.PutUint32(s.Data[messageIDAt:], id-1)
				out[i] = s
			}
		}
		return out
	}
}

// message changes the octets of messages.
func message(change func(data []byte)) func([]session.Output) []session.Output {
	return func(out []session.Output) []session.Output {
		for i, o := range out {
			if s, ok := o.(session.Send); ok && len(s.Data) > 28 {
				s.Data = slices.Clone(s.Data)
				change(s.Data)
				out[i] = s
			}
		}
		return out
	}
}

// reuseExchange gives every informational exchange of an ISAKMP SA one message ID.
func reuseExchange() func([]session.Output) []session.Output {
	return message(func(data []byte) {
		if data[exchangeAt] == informationalV1 {
			binary.BigEndian.PutUint32(data[messageIDAt:], 7)
		}
	})
}

// inTheClear forgets to say that quick modes are encrypted.
func inTheClear() func([]session.Output) []session.Output {
	return message(func(data []byte) {
		if binary.BigEndian.Uint32(data[messageIDAt:]) != 0 {
			data[flagsAt] = 0
		}
	})
}

// noSecondTime sends no octets twice.
func noSecondTime() func([]session.Output) []session.Output {
	sent := map[string]bool{}
	return without(func(o session.Output) bool {
		s, ok := o.(session.Send)
		if !ok {
			return false
		}
		again := sent[string(s.Data)]
		sent[string(s.Data)] = true
		return again
	})
}

// noInformational says nothing in informational exchanges: no Delete, no query of dead
// peer detection and no answer to one.
func noInformational() func([]session.Output) []session.Output {
	return without(func(o session.Output) bool {
		s, ok := o.(session.Send)
		return ok && s.Data[exchangeAt] == informationalV1
	})
}

// noRepeat sends no response twice, noRetransmission no request.
func noRepeat() func([]session.Output) []session.Output         { return once(true) }
func noRetransmission() func([]session.Output) []session.Output { return once(false) }

func once(responses bool) func([]session.Output) []session.Output {
	sent := map[string]bool{}
	return without(func(o session.Output) bool {
		s, ok := o.(session.Send)
		if !ok || (s.Data[19]&0x20 != 0) != responses {
			return false
		}
		again := sent[string(s.Data)]
		sent[string(s.Data)] = true
		return again
	})
}

func keepInbound() func([]session.Output) []session.Output {
	return without(func(o session.Output) bool { return isDelete(o, sadb.Inbound) })
}

func keepOutbound() func([]session.Output) []session.Output {
	return without(func(o session.Output) bool { return isDelete(o, sadb.Outbound) })
}

func keepPolicy() func([]session.Output) []session.Output {
	return without(func(o session.Output) bool { p, ok := o.(session.Policy); return ok && p.Remove })
}

func noUpdate() func([]session.Output) []session.Output {
	return without(func(o session.Output) bool { _, ok := o.(session.UpdateSA); return ok })
}

// wrongKey spoils the key of every fifth SA.
func wrongKey() func([]session.Output) []session.Output {
	count := 0
	return func(out []session.Output) []session.Output {
		for i, o := range out {
			if a, ok := o.(session.AddSA); ok {
				if count++; count%5 == 0 {
					a.SA.Key = slices.Clone(a.SA.Key)
					a.SA.Key[0] ^= 1
					out[i] = a
				}
			}
		}
		return out
	}
}

// ignore takes no input of that type.
func ignore[T session.Input](in session.Input) session.Input {
	if _, ok := in.(T); ok {
		return session.Tick{}
	}
	return in
}

// leak keeps a deadline that the engine gave up: an hour ahead of the first.
func leak() func(time.Time) time.Time {
	var kept time.Time
	return func(due time.Time) time.Time {
		if kept.IsZero() && !due.IsZero() {
			kept = due.Add(time.Hour)
		}
		if due.IsZero() {
			return kept
		}
		return due
	}
}

// hoarder frees nothing, twice frees everything twice.
type hoarder struct{ session.SPIs }

func (hoarder) Free(sadb.SPI) {}

type twice struct{ session.SPIs }

func (t twice) Free(spi sadb.SPI) {
	t.SPIs.Free(spi)
	t.SPIs.Free(spi)
}
