package keysock_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"spindle/sadb/keysock"
)

var (
	gw6 = netip.MustParseAddrPort("192.0.2.1:4500")
	gw8 = netip.MustParseAddrPort("192.0.2.2:4500")
)

// pair joins two connections that end with the test.
func pair(t *testing.T) (control, datapath *keysock.Conn) {
	t.Helper()
	a, b, err := keysock.Pair()
	if err != nil {
		t.Fatal(err)
	}
	conns := [2]*keysock.Conn{}
	for i, f := range []*os.File{a, b} {
		if conns[i], err = keysock.New(f); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conns[i].Close() })
	}
	return conns[0], conns[1]
}

// within fails the test if what ctx bounds takes longer than a test may.
func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestNewRefusesOtherFiles(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := keysock.New(r); err == nil {
		t.Fatal("a pipe was taken for a key socket")
	}
}

func TestConcurrentSendersKeepMessagesWhole(t *testing.T) {
	a, b := pair(t)
	const senders, each = 8, 200
	var group sync.WaitGroup
	for i := range senders {
		group.Go(func() {
			for n := range each {
				m := keysock.Inject{Local: gw6, Remote: gw8, Data: bytes.Repeat([]byte{byte(i)}, 1+n)}
				if err := a.Send(uint32(n), m); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range senders * each {
		seq, m, err := b.Receive()
		if err != nil {
			t.Fatal(err)
		}
		data := m.(keysock.Inject).Data
		if len(data) != int(seq)+1 || bytes.Count(data, data[:1]) != len(data) {
			t.Fatalf("message %d arrived as %x", seq, data)
		}
	}
	group.Wait()
}

func TestLargestDatagramPasses(t *testing.T) {
	a, b := pair(t)
	want := keysock.Punt{Local: gw6, Remote: gw8, Data: bytes.Repeat([]byte("x"), 65507)}
	if err := a.Send(0, want); err != nil {
		t.Fatal(err)
	}
	_, got, err := b.Receive()
	if diff := cmp.Diff(keysock.Message(want), got, same); err != nil || diff != "" {
		t.Fatal(err, diff)
	}
}

func TestReadDeadline(t *testing.T) {
	a, _ := pair(t)
	if err := a.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

// TestFloodOfPuntsDropsAndNeverDelaysAnAck: the control process reads nothing
// while every worker punts; an Ack still goes out at once.
func TestFloodOfPuntsDropsAndNeverDelaysAnAck(t *testing.T) {
	control, datapath := pair(t)
	flood := []keysock.Message{
		keysock.Punt{Local: gw6, Remote: gw8, Data: make([]byte, 1200)},
		keysock.UnknownSPI{SPI: 1, Local: gw6, Remote: gw8},
		keysock.Acquire{Policy: 1},
	}
	const rounds = 5000
	sent := 0
	for i := range rounds {
		switch err := datapath.Send(0, flood[i%3]); {
		case err == nil:
			sent++
		case !errors.Is(err, keysock.ErrFull):
			t.Fatal(err)
		}
	}
	drops := datapath.Dropped()
	if total := drops.Punt + drops.UnknownSPI + drops.Acquire; drops.Punt == 0 || int(total)+sent != rounds {
		t.Fatalf("%d sent, dropped %+v of %d", sent, drops, rounds)
	}
	_ = datapath.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if err := datapath.Send(9, keysock.Ack{}); err != nil {
		t.Fatalf("Ack behind a flood: %v", err)
	}
	for range sent {
		if _, _, err := control.Receive(); err != nil {
			t.Fatal(err)
		}
	}
	if seq, m, err := control.Receive(); seq != 9 || m != (keysock.Ack{}) {
		t.Fatal(seq, m, err)
	}
}

// TestPuntDoesNotWaitBehindABlockedSender: Usage fills the socket and waits; a
// worker's Punt must come back at once all the same.
func TestPuntDoesNotWaitBehindABlockedSender(t *testing.T) {
	_, datapath := pair(t)
	_ = datapath.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	blocked := make(chan error, 1)
	go func() {
		for {
			if err := datapath.Send(1, keysock.Usage{KeyFingerprint: strings.Repeat("x", 4096)}); err != nil {
				blocked <- err
				return
			}
		}
	}()
	punted := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			err = datapath.Send(0, keysock.Punt{Data: []byte("ike")})
		}
		punted <- err
	}()
	if err := <-punted; !errors.Is(err, keysock.ErrFull) {
		t.Fatal(err)
	}
	select {
	case err := <-blocked:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the write deadline did not end the blocked sender")
	}
}
