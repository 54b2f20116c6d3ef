package esp_test

import (
	"sync"
	"testing"

	"spindle/datapath/packet"
	"spindle/sadb"
)

// What the package says anyone may call is called while the owner works; the
// race detector is the judge.
func TestOthersMayLookAndSteerMeanwhile(t *testing.T) {
	p := newPair(t, "aes128gcm16", func(sa *sadb.SA) { sa.Encap = true })
	local, remote := endpoints(false)
	sealed := p.seal(t, inner(false, 1400, 0))
	p.out.Publish()
	q := p.quote(t, sealed, 1300)
	var others sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for range 200 {
				p.out.Rebind(local, remote, true)
				p.out.Learn(&q)
				p.out.SetPathMTU(0)
				p.out.InnerMTU(1500)
				p.out.Remote()
				p.out.Usage()
				p.in.Usage()
				p.in.Reordering()
			}
		})
	}
	for i := range 200 {
		first, _ := espOf(t, p.seal(t, inner(false, 100, 0)))
		second, _ := espOf(t, p.seal(t, inner(false, 100, 0)))
		for _, body := range [][]byte{second, first} {
			if v := p.arrive(body, remote); v != packet.Pass {
				t.Fatalf("packet %d: %v", i, v)
			}
		}
		p.out.Publish()
		p.in.Publish()
	}
	others.Wait()
	if got := p.in.Reordering().Late[1]; got != 200 {
		t.Errorf("%d packets were late by one, want 200", got)
	}
}
