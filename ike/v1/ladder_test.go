package v1_test

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/suite"
	"spindle/ike/v1"
	"spindle/ike/wire"
	"spindle/sadb"
)

// version is what IKEv1 brings to its ladders.
var version = &ladder.Version{
	Number: 1, IKE: "aes128-sha256-ecp256", Established: v1.Established.String(), HalfOpen: v1.HalfOpen.String(), Terse: true,
	Connection: connection, Command: command, Garbage: garbage,
	Trials: ladder.Trials{
		Words:     ladder.Words{"recover": "yes"},
		Handshake: 9,
		// Nothing protects the first messages of main mode, and of its last two the
		// hash covers no more than who sent them.
		Clear:       6,
		HalfOpen:    1000,
		Unprotected: []int{17, 19}, // version and flags: no hash covers them
	},
}

func TestLadders(t *testing.T) { ladder.Play(t, version) }
func TestEstablishedSurvivesSpoiltMessages(t *testing.T) {
	ladder.EstablishedSurvivesSpoilt(t, version)
}
func TestHandshakeSurvivesSpoiltMessages(t *testing.T) { ladder.HandshakeSurvivesSpoilt(t, version) }
func TestReplayChangesNothing(t *testing.T)            { ladder.ReplayChangesNothing(t, version) }
func TestHalfOpenLimit(t *testing.T)                   { ladder.HalfOpenLimit(t, version) }
func FuzzDatagram(f *testing.F)                        { ladder.FuzzDatagram(f, version) }

// command is what only ladders of IKEv1 say.
func command(w *ladder.World, g *ladder.Gateway, name string, words ladder.Words) bool {
	switch name {
	case "bounds": // of the inbound SAs
		for _, sa := range g.In {
			w.Say(g, "%v and %d KiB", sa.Hard.Time, sa.Hard.Bytes>>10)
		}
	case "conceal": // nobody hears of the gateway that it can do this
		conceal(w, g, strings.Split(words["vendor"], "+"))
	case "commit": // the gateway sets the commit bit in quick mode
		w.Watch = func(from *ladder.Gateway, d session.Datagram) {
			if from == g && wire.ExchangeType(d.Data[18]) == wire.V1ExchangeQuickMode {
				d.Data[19] |= byte(wire.V1FlagCommit)
			}
		}
	default:
		return false
	}
	return true
}

// vendors are the names that ladders have for them.
var vendors = map[string]wire.V1Vendor{"dpd": wire.V1VendorDPD, "natt": wire.V1VendorNATT, "draft03": wire.V1VendorNATTDraft03,
	"draft02": wire.V1VendorNATTDraft02, "draft02lf": wire.V1VendorNATTDraft02LF}

func conceal(w *ladder.World, g *ladder.Gateway, names []string) {
	w.Watch = func(from *ladder.Gateway, d session.Datagram) {
		for _, name := range names {
			if at := bytes.Index(d.Data, vendors[name].Payload().Data); from == g && at >= 0 {
				d.Data[at] ^= 0xff
			}
		}
	}
}

// connection reads the words that only an IKEv1 connection has.
func connection(t testing.TB, c *session.Connection, words ladder.Words) {
	auth := words["auth"]
	c.V1 = session.V1{Aggressive: words["mode"] == "aggressive", Certs: auth == "cert", Hybrid: auth == "hybrid",
		Push: words["push"] == "yes", Config: words["config"] == "yes", Extend: words["extend"] == "yes"}
	if name, password, ok := strings.Cut(words["user"], ":"); ok {
		c.V1.User, c.V1.Password = name, session.Secret(password)
	}
	if users := words["users"]; users != "" {
		c.V1.XAuth = true
		c.Users, _ = session.ParseUsers([]byte(strings.NewReplacer(":", " ", "+", "\n").Replace(users)))
	}
	if pool := words["pool"]; pool != "" {
		c.Pool = &session.Pool{Ranges: []session.AddressRange{session.HostRange(netip.MustParsePrefix(pool))}, DNS: []netip.Addr{netip.MustParseAddr("10.8.0.53")}, Banner: "hello",
			Subnets: []netip.Prefix{netip.MustParsePrefix("10.8.8.0/24")}}
	}
	c.ForceEncap = words["encap"] == "force"
	c.InvalidSPIRecovery = c.InvalidSPIRecovery || words["recover"] == "yes"
	kilobytes, _ := strconv.Atoi(words.Get("kilobytes", "0"))
	for i := range c.Children {
		c.Children[i].Lifetime.Bytes = uint64(kilobytes) << 10
		if words["ipsec"] == "transport" {
			c.Children[i].Mode = sadb.Transport
		}
	}
}

// garbage is what no peer would send.
func garbage(w *ladder.World, g *ladder.Gateway, what string, d session.Datagram) {
	switch what {
	case "unknown":
		d.Data, _ = wire.AppendV1Message(nil, wire.Header{InitiatorSPI: 7, ResponderSPI: 8, Exchange: wire.V1ExchangeInformational, MessageID: 5}, nil)
		w.Step(g, d)
	case "flood":
		for i := range 1100 {
			d.Data, _ = wire.AppendV1Message(nil, wire.Header{InitiatorSPI: wire.SPI(1000 + i), Exchange: wire.V1ExchangeMainMode},
				[]wire.Payload{suite.V1OfferIKE(g.Conns[0].IKE, suite.V1AuthPSK, suite.V1Lifetime{Time: time.Hour})})
			w.Step(g, d)
		}
		w.Flooded(g, "ISAKMP SAs")
	}
}
