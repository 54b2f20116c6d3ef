package main_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// exchanges notes when IKE is on the wire, until stop is closed: messages within
// half a second of each other are one exchange.
func (b *bed) exchanges(stop <-chan struct{}) <-chan []time.Duration {
	done := make(chan []time.Duration, 1)
	began := time.Now()
	go func() {
		var at []time.Duration
		var last uint64
		for {
			counts, err := b.wire.Read()
			now := time.Since(began)
			if err == nil && counts.IKE.Frames > last {
				if last = counts.IKE.Frames; len(at) == 0 || now-at[len(at)-1] > 500*time.Millisecond {
					at = append(at, now)
				}
			}
			select {
			case <-stop:
				done <- at
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	return done
}

const tunnelDown = "%CRYPTO-5-SESSION_STATUS: Crypto tunnel is DOWN. Peer 192.0.2.8:"

// saysDown wants the line of D8 with the peer's address, port and identity.
func (b *bed) saysDown() {
	b.t.Helper()
	port := 500
	if b.swan != nil {
		port = 4500 // its ESP goes in UDP
	}
	if line := fmt.Sprintf("%s%d Id: 192.0.2.8", tunnelDown, port); !strings.Contains(b.r6.Log(), line) {
		b.t.Errorf("D8: no %q in the log", line)
	}
}

// TestPeriodicDPD: D1, D2, D4: answered by a peer whose own DPD is off. D5, D6, D8:
// with the answers blocked and ESP flowing the queries go out at 0, 2, 4, 6 and
// 8 s, the peer is dead at 10 s, and frees its side on the Deletes.
func TestPeriodicDPD(t *testing.T) {
	with(t, all, func(t *testing.T, p party) {
		b := p.bed(t, "dpdp", func(r6, r8 *testbed.Tunnel) {
			r6.Lines = []string{"dpd: {mode: periodic, interval: 10s, retry: 2s, tries: 5}"}
			r8.Lines = []string{"dpd: {mode: off}"}
		}, nil)
		b.up()
		time.Sleep(11 * time.Second) // one query, answered
		if strings.Contains(b.r6.Log(), "DPD incrementing") {
			t.Error("D1: a query was not answered")
		}
		b.figures()
		b.block(ikeFrom(b.R8Addr)...)
		at := b.outlived()
		for i, want := range []time.Duration{0, 2, 4, 6, 8, 10} {
			want *= time.Second
			if i >= len(at) || (at[i]-at[0]-want).Abs() > 100*time.Millisecond {
				t.Fatalf("D5: exchanges at %v, want one every 2 s from 0 to 8 and the Deletes at 10 s", at)
			}
		}
		for i := range 5 {
			if line := fmt.Sprintf("DPD incrementing error counter (%d/5)", i+1); !strings.Contains(b.r6.Log(), line) {
				t.Errorf("D5: no %q in the log", line)
			}
		}
		b.saysDown()
		b.freed() // D8
	})
}

// figures wants D7's figures after one query: its answer a moment ago, which data
// does not make younger.
func (b *bed) figures() {
	b.t.Helper()
	before := b.peer()
	if before.LastReceivedS == nil || *before.LastReceivedS > 5 || before.MyLastSeq == 0 || before.Outstanding || before.Mode != "periodic" {
		b.t.Errorf("D7: %+v, want a query that was answered a moment ago", before)
		return
	}
	b.ping(b.A, b.A4, b.B4, 5)
	if after := b.peer(); after.LastReceivedS == nil || *after.LastReceivedS < *before.LastReceivedS+0.2 {
		b.t.Errorf("D7: last_received went from %v to %v while data flowed", *before.LastReceivedS, after.LastReceivedS)
	}
}

// peer is what R6 says of R8.
func (b *bed) peer() api.Peer {
	b.t.Helper()
	rows, err := testbed.Table[api.Peer](b.t.Context(), b.r6, api.Peers)
	check(b.t, err)
	if len(rows) != 1 {
		b.t.Fatalf("peers: %+v", rows)
	}
	return rows[0]
}

// outlived sends until R6 takes its peer for dead, and returns when IKE was on the
// wire from the first query on. The traffic must flow until then (D6).
func (b *bed) outlived() []time.Duration {
	b.t.Helper()
	flowing := make(chan int)
	go func() {
		answered := 0
		for !strings.Contains(b.r6.Log(), tunnelDown) && b.t.Context().Err() == nil {
			r, _ := netlab.Ping(b.t.Context(), b.A, b.A4, b.B4, 2, 200*time.Millisecond, time.Second) // when the test ends it is cut short
			answered += r.Received
		}
		flowing <- answered
	}()
	counts, err := b.wire.Read()
	check(b.t, err)
	before := counts.IKE.Frames
	check(b.t, b.r6.Await(b.t.Context(), patience, "ask", func() bool {
		counts, err := b.wire.Read()
		return err == nil && counts.IKE.Frames > before
	}))
	stop := make(chan struct{})
	times := b.exchanges(stop)
	if peer := b.peer(); !peer.Outstanding || peer.MyLastSeq == 0 {
		b.t.Errorf("D7: %+v, want a query outstanding", peer)
	}
	b.awaitLog(b.r6, patience, tunnelDown)
	if answered := <-flowing; answered < 20 {
		b.t.Errorf("D6: only %d pings were answered until the peer was taken for dead", answered)
	}
	time.Sleep(50 * time.Millisecond)
	close(stop)
	return <-times
}

// TestOnDemandDPD: D3: an idle peer is never asked; one that is sent to and
// silent is, after the interval, and is dead 10 s later.
func TestOnDemandDPD(t *testing.T) {
	with(t, all, func(t *testing.T, p party) {
		b := p.bed(t, "dpdo", nil, nil)
		b.up()
		quiet, err := b.wire.Read()
		check(t, err)
		time.Sleep(12 * time.Second)
		now, err := b.wire.Read()
		check(t, err)
		if now.IKE != quiet.IKE {
			t.Errorf("D3: an idle peer was asked: %v, then %v", quiet.IKE, now.IKE)
		}
		b.kill()
		killed := time.Now()
		go netlab.Ping(t.Context(), b.A, b.A4, b.B4, 150, 200*time.Millisecond, time.Second)
		b.awaitLog(b.r6, 2*patience, tunnelDown)
		if took := time.Since(killed); took < 10*time.Second || took > 14*time.Second {
			t.Errorf("D5: dead after %v; the last proof of life was 12 s before the first unanswered packet, so want about 10 s", took)
		}
		b.saysDown()
	})
}

// TestAnswersDPD: D1: strongSwan asks every two seconds and buries who does not
// answer after a few; ours, whose own DPD is off, is still there. D4: nor does it
// ask when it is periodic, for it is being asked.
func TestAnswersDPD(t *testing.T) {
	for _, mode := range []string{"off", "periodic"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			with(t, theirs, func(t *testing.T, p party) { asked(t, p, mode) })
		})
	}
}

func asked(t *testing.T, p party, mode string) {
	b := p.bed(t, "dpda"+mode[:1], func(r6, _ *testbed.Tunnel) {
		r6.Lines = []string{"dpd: {mode: " + mode + "}"}
	}, func(r8 *netlab.StrongSwanConfig) {
		r8.DPDDelay = 2 * time.Second
		r8.ConnLines = append(r8.ConnLines, "dpd_timeout = 5s")
		r8.ExtraLines = append(r8.ExtraLines, "retransmit_tries = 1", "retransmit_timeout = 1.0")
	})
	child := b.up()
	before, err := b.wire.Read()
	check(t, err)
	time.Sleep(13 * time.Second)
	after, err := b.wire.Read()
	check(t, err)
	if asked := (after.IKE.Frames - before.IKE.Frames) / 2; asked < 4 || asked > 7 {
		t.Errorf("D1: %d exchanges in 13 s, want one every 2 s", asked)
	}
	if peer := b.peer(); peer.MyLastSeq != 0 || peer.PeerLastSeq == 0 || peer.LastReceivedS != nil {
		t.Errorf("D4, D7: %+v, want no query of ours and the number of the peer's last", peer)
	}
	if list := b.pairs(); len(list) != 1 || list[0] != [2]string{child.SPIIn, child.SPIOut} {
		t.Errorf("D1: strongSwan holds %v, want the child SA %s/%s", list, child.SPIIn, child.SPIOut)
	}
}
