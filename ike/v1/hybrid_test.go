package v1_test

import (
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/wire"
	"spindle/sadb"
	"spindle/tools/pki"
)

// server is an ISAKMP SA's host that takes anybody to its one connection.
type server struct {
	loner
	conn *session.Connection
}

func (s server) Candidates(_, _ netip.Addr) []*session.Connection {
	return []*session.Connection{s.conn}
}
func (server) MayLog(time.Time) bool             { return true }
func (server) Refused(time.Time, string, string) {}
func (server) Changed(time.Time, *v1.SA)         {}

// TestHybridProvesNothing: in hybrid authentication a client that has not yet said its
// password is a stranger, and counts as one among the half-open.
func TestHybridProvesNothing(t *testing.T) {
	w := ladder.New(t, version)
	ca, err := pki.NewCA("root", pki.RSA)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(pki.Leaf{Name: "r8", Names: []string{"r8.example.net"}, Kind: pki.RSA})
	if err != nil {
		t.Fatal(err)
	}
	ours := w.Connection(ladder.Words{"addr": "192.0.2.2", "id": "r8.example.net", "peerid": "any", "auth": "hybrid", "users": "carol:tiramisu"})
	if ours.Credential, err = session.NewCredential([]*x509.Certificate{pair.Cert}, session.PrivateKey{Signer: pair.Key}); err != nil {
		t.Fatal(err)
	}
	theirs := w.Connection(ladder.Words{"addr": "192.0.2.1", "peer": "192.0.2.2", "peerid": "r8.example.net", "auth": "hybrid", "user": "carol:tiramisu"})
	theirs.Trust = &session.Trust{Authorities: []*x509.Certificate{ca.Cert}}

	now := time.Now() // of the certificates
	env := func(conn *session.Connection) *v1.Env {
		rnd := rand.NewChaCha8([32]byte{byte(len(conn.V1.User))})
		return &v1.Env{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd), SPD: session.NewSPD(), Out: &session.Outbox{}, Host: server{conn: conn},
			Assigned: session.Assigned{}, Revocations: session.NewRevocations()}
	}
	a, b := netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	mine, client := env(&ours), env(&theirs)
	peer := v1.Initiate(client, now, &theirs, a, b, nil, sadb.Flow{})
	first := sends(client.Out.Take())
	m, err := wire.ParseV1Message(first[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	sa := v1.Respond(mine, now, session.Datagram{Local: b, Remote: a, Data: first[0].Data}, m)
	for _, want := range []string{"half-open true", "half-open true", "authenticating true", "authenticating false", "established false"} {
		if got := fmt.Sprint(sa.State(), " ", sa.HalfOpen()); got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
		carry(t, now, mine.Out, peer, a, b)
		carry(t, now, client.Out, sa, b, a)
	}
}

// carry gives one end what the other has said.
func carry(t *testing.T, now time.Time, said *session.Outbox, to *v1.SA, at, from netip.AddrPort) {
	for _, s := range sends(said.Take()) {
		h, err := wire.ParseHeader(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		to.Receive(now, session.Datagram{Local: at, Remote: from, Data: s.Data}, h)
	}
}
