package v2_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/v2"
	"spindle/ike/wire"
	"spindle/sadb"
)

// version is what IKEv2 brings to its ladders.
var version = &ladder.Version{
	Number: 2, IKE: "aes128gcm16-prfsha256-x25519", Established: v2.Established.String(), HalfOpen: v2.InitAnswered.String(),
	Connection: connection, Command: command, Garbage: garbage,
	// The octets of IKE_SA_INIT are not protected by anything.
	Trials: ladder.Trials{Handshake: 4, Clear: 2, HalfOpen: 100},
}

func TestLadders(t *testing.T) { ladder.Play(t, version) }
func TestEstablishedSurvivesSpoiltMessages(t *testing.T) {
	ladder.EstablishedSurvivesSpoilt(t, version)
}
func TestHandshakeSurvivesSpoiltMessages(t *testing.T) { ladder.HandshakeSurvivesSpoilt(t, version) }
func TestReplayChangesNothing(t *testing.T)            { ladder.ReplayChangesNothing(t, version) }
func TestHalfOpenLimit(t *testing.T)                   { ladder.HalfOpenLimit(t, version) }
func FuzzDatagram(f *testing.F)                        { ladder.FuzzDatagram(f, version) }

// connection reads the words that only an IKEv2 connection has.
func connection(t testing.TB, c *session.Connection, words ladder.Words) {
	fmt.Sscan(words["fragment"], &c.FragmentSize)
	if to := words["redirect"]; to != "" {
		c.Redirect = netip.MustParseAddr(to)
	}
	c.RedirectGrace, _ = time.ParseDuration(words.Get("grace", "0"))
	c.FollowRedirect = words["follow"] == "yes"
	c.VirtualIP = words["vip"] == "yes"
	c.Childless = words["childless"] == "yes"
	for i := range c.Children {
		c.Children[i].SinglePair = words["pair"] == "yes"
		if words["mode"] == "transport" {
			c.Children[i].Mode = sadb.Transport
		}
	}
}

// command is hearsay: an INVALID_SPI in the clear for what the gateway sends with.
func command(w *ladder.World, g *ladder.Gateway, name string, words ladder.Words) bool {
	if name != "hearsay" {
		return false
	}
	for _, pair := range slices.Sorted(maps.Keys(g.Out)) {
		data, err := wire.AppendMessage(nil, wire.Header{Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator},
			[]wire.Payload{wire.Notify{Type: wire.NotifyInvalidSPI, Data: binary.BigEndian.AppendUint32(nil, uint32(g.Out[pair].SPI))}})
		if err != nil {
			w.T.Fatal(err)
		}
		w.Step(g, session.Datagram{Local: netip.MustParseAddrPort(words["to"]), Remote: netip.MustParseAddrPort(words["from"]), Data: data})
	}
	return true
}

// garbage is what no peer would send.
func garbage(w *ladder.World, g *ladder.Gateway, what string, d session.Datagram) {
	switch what {
	case "version3":
		d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: 7, Version: 0x30, Exchange: wire.ExchangeIKESAInit, Flags: wire.FlagInitiator}, nil)
		w.Step(g, d)
	case "unknown":
		d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: 7, ResponderSPI: 8, Exchange: wire.ExchangeInformational, Flags: wire.FlagInitiator, MessageID: 5}, nil)
		w.Step(g, d)
	case "flood":
		for i := range 40 {
			d.Data, _ = wire.AppendMessage(nil, wire.Header{InitiatorSPI: wire.SPI(1000 + i), Exchange: wire.ExchangeIKESAInit, Flags: wire.FlagInitiator},
				initPayloads(g.Conns[0]))
			w.Step(g, d)
		}
		w.Flooded(g, "IKE SAs")
	}
}

// initPayloads are a request that the connection accepts.
func initPayloads(c session.Connection) []wire.Payload {
	var sa wire.SA
	for i, p := range c.IKE {
		sa.Proposals = append(sa.Proposals, p.Wire(uint8(i+1), nil))
	}
	key := make([]byte, 32)
	key[0] = 9 // the base point of Curve25519
	return []wire.Payload{sa, wire.KE{Group: wire.GroupX25519, Data: key}, wire.Nonce{Data: make([]byte, 32)}}
}
