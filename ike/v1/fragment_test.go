package v1_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"spindle/ike/ladder"
	"spindle/ike/session"
	"spindle/ike/v1"
	"spindle/ike/wire"
	"spindle/sadb"
)

// TestFragmentsBounded: a fragment proves nothing, so that whoever opens an ISAKMP SA
// must not make us keep more of them than the longest message has octets.
func TestFragmentsBounded(t *testing.T) {
	w := ladder.New(t, version)
	ours := w.Connection(ladder.Words{"addr": "192.0.2.2", "peer": "192.0.2.1"})
	theirs := w.Connection(ladder.Words{"addr": "192.0.2.1", "peer": "192.0.2.2"})
	now, rnd := ladder.Midnight, rand.NewChaCha8([32]byte{6})
	env := &v1.Env{Rand: rnd, SPIs: sadb.NewAllocator(1, rnd), SPD: session.NewSPD(), Out: &session.Outbox{}, Host: server{conn: &ours}}
	a, b := netip.MustParseAddrPort("192.0.2.1:500"), netip.MustParseAddrPort("192.0.2.2:500")
	v1.Initiate(env, now, &theirs, a, b, nil, sadb.Flow{})
	first := session.Datagram{Local: b, Remote: a, Data: sends(env.Out.Take())[0].Data}
	m, err := wire.ParseV1Message(first.Data)
	if err != nil {
		t.Fatal(err)
	}
	sa := v1.Respond(env, now, first, m)
	h := wire.Header{InitiatorSPI: m.Header.InitiatorSPI, ResponderSPI: sa.LocalSPI(), Exchange: wire.V1ExchangeMainMode}
	for _, size := range []int{1, 30000} {
		most := 0
		for number := range 255 {
			data, err := wire.AppendV1Message(nil, h, []wire.Payload{wire.V1Fragment{ID: uint16(size), Number: uint8(number + 1), Data: make([]byte, size)}})
			if err != nil {
				t.Fatal(err)
			}
			fragment, err := wire.ParseHeader(data)
			if err != nil {
				t.Fatal(err)
			}
			sa.Receive(now, session.Datagram{Local: b, Remote: a, Data: data}, fragment)
			most = max(most, sa.Held())
		}
		if bound := min(wire.MaxReassembled, wire.V1MaxFragments*size); most == 0 || most > bound {
			t.Errorf("%d octets of fragments of %d are kept, no more than %d may be", most, size, bound)
		}
	}
}
