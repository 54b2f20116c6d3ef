package keysock_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"spindle/sadb"
	"spindle/sadb/keysock"
)

// gateway is a data path that keeps what it is told in memory.
type gateway struct {
	keysock.Handler // nil: what a test does not expect fails loudly
	mu              sync.Mutex
	sas             []sadb.SA
	injected        []string
}

func (g *gateway) Add(sa sadb.SA) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if sa.SPI == 0 {
		return errors.New("SPI 0 is reserved")
	}
	g.sas = append(g.sas, sa)
	return nil
}

func (g *gateway) Update(keysock.Update) error         { return nil }
func (g *gateway) Delete(keysock.Delete) error         { return errors.New("") }
func (g *gateway) PolicyAdd(sadb.Policy) error         { return nil }
func (g *gateway) PolicyDelete(id sadb.PolicyID) error { return fmt.Errorf("no policy %d", id) }
func (g *gateway) HostAddress(m keysock.HostAddress) error {
	return fmt.Errorf("address %v, remove %v", m.Addr, m.Remove)
}
func (g *gateway) Flush() error            { g.sas = nil; return nil }
func (g *gateway) Inject(m keysock.Inject) { g.injected = append(g.injected, string(m.Data)) }
func (g *gateway) Keepalive(m keysock.Keepalive) {
	g.injected = append(g.injected, "keepalive to "+m.Remote.String())
}
func (g *gateway) Stats(f func(keysock.Counters) error) error {
	return f(keysock.Counters{Source: "worker0", Names: []string{"forwarded"}, Values: []uint64{uint64(len(g.injected))}})
}

func (g *gateway) Translations(emit func(keysock.Translation) error) error {
	return errors.Join(emit(keysock.Translation{Conn: "a", TCP: 7}), emit(keysock.Translation{Conn: "b"}))
}

func (g *gateway) Dump(emit func(keysock.Usage) error) error {
	for _, sa := range g.sas {
		if err := emit(keysock.Usage{SA: sa, KeyFingerprint: sa.Key.Fingerprint()}); err != nil {
			return err
		}
	}
	return nil
}

// serve runs a gateway and returns the client that talks to it.
func serve(t *testing.T) (*keysock.Client, *keysock.Conn) {
	control, datapath := pair(t)
	client := keysock.NewClient(control)
	served := make(chan error, 1)
	go func() { served <- keysock.Serve(datapath, &gateway{}) }()
	t.Cleanup(func() {
		client.Close()
		if err := <-served; !errors.Is(err, keysock.ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
	})
	return client, datapath
}

func TestEveryRequestIsAnswered(t *testing.T) {
	client, _ := serve(t)
	ctx := within(t)
	for _, c := range []struct {
		m    keysock.Message
		want string // part of the refusal
	}{
		{keysock.Add{SA: sadb.SA{SPI: 0x100, Key: sadb.Key("0123")}}, ""},
		{keysock.Add{}, "ADD: refused by the data path: SPI 0 is reserved"},
		{keysock.Update{Pair: 0x100, Local: gw6, Remote: gw8}, ""},
		{keysock.Delete{}, "without a reason"},
		{keysock.PolicyAdd{Policy: sadb.Policy{ID: 3}}, ""},
		{keysock.PolicyDelete{ID: 4}, "no policy 4"},
		{keysock.HostAddress{Remove: true, Addr: gw6.Addr()}, "address " + gw6.Addr().String() + ", remove true"},
		{keysock.Hello{}, "HELLO is not for the data path"},
	} {
		err := client.Call(ctx, c.m)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, keysock.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%T: %v, want %q", c.m, err, c.want)
		}
	}
	if err := client.Inject(ctx, keysock.Inject{Local: gw6, Remote: gw8, Data: []byte("ike")}); err != nil {
		t.Fatal(err)
	}
	usage, err := client.Dump(ctx)
	if err != nil || len(usage) != 1 || usage[0].KeyFingerprint != sadb.Key("0123").Fingerprint() || usage[0].SA.Key != nil {
		t.Fatalf("%+v, %v", usage, err)
	}
	counters, err := client.Stats(ctx)
	if err != nil || len(counters) != 1 || counters[0].Values[0] != 1 {
		t.Fatalf("%+v, %v", counters, err)
	}
	translations, err := client.Translations(ctx)
	if err != nil || len(translations) != 2 || translations[0].Conn != "a" || translations[0].TCP != 7 {
		t.Fatalf("%+v, %v", translations, err)
	}
	if err := client.Call(ctx, keysock.Flush{}); err != nil {
		t.Fatal(err)
	}
	if usage, err = client.Dump(ctx); err != nil || len(usage) != 0 {
		t.Fatalf("%+v, %v", usage, err)
	}
}

func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	client, _ := serve(t)
	ctx := within(t)
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			for n := range 50 {
				id := sadb.PolicyID(1000*i + n)
				err := client.Call(ctx, keysock.PolicyDelete{ID: id})
				if err == nil || !strings.HasSuffix(err.Error(), fmt.Sprintf("no policy %d", id)) {
					t.Errorf("%d: %v", id, err)
				}
			}
		})
	}
	group.Wait()
}

func TestServeRefusesMalformedAndGoesOn(t *testing.T) {
	a, b, err := keysock.Pair()
	if err != nil {
		t.Fatal(err)
	}
	datapath, err := keysock.New(b)
	if err != nil {
		t.Fatal(err)
	}
	go keysock.Serve(datapath, &gateway{})
	defer datapath.Close()
	if _, err := a.Write([]byte{2, 1, 0, 0, 0, 9}); err != nil { // another version, seq 9
		t.Fatal(err)
	}
	control, err := keysock.New(a)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	seq, m, err := control.Receive()
	if ack, ok := m.(keysock.Ack); !ok || seq != 9 || !strings.Contains(ack.Err, "version 2") {
		t.Fatalf("seq %d, %+v, %v", seq, m, err)
	}
	if err := control.Send(10, keysock.PolicyAdd{}); err != nil {
		t.Fatal(err)
	}
	if seq, m, err := control.Receive(); seq != 10 || m != (keysock.Ack{}) {
		t.Fatal(seq, m, err)
	}
}

func TestEventsComeInOrderAndDoNotDelayAnswers(t *testing.T) {
	client, datapath := serve(t)
	// Nobody reads the events yet: more than the queue holds must not stop a Call.
	const acquires = 6000
	sent := 0
	for i := range acquires {
		for {
			err := datapath.Send(0, keysock.Acquire{Policy: sadb.PolicyID(i)})
			if err == nil {
				sent++
				break
			}
			if !errors.Is(err, keysock.ErrFull) {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
	}
	if err := datapath.Send(0, keysock.Expire{Pair: 7, Cause: "idle"}); err != nil {
		t.Fatal(err)
	}
	if err := client.Call(within(t), keysock.PolicyAdd{}); err != nil {
		t.Fatal(err)
	}
	lost := int(client.EventsDropped())
	if lost == 0 {
		t.Error("a queue without bound")
	}
	next := sadb.PolicyID(0)
	for range sent - lost {
		m := (<-client.Events()).(keysock.Acquire)
		if m.Policy < next {
			t.Fatalf("policy %d after %d", m.Policy, next)
		}
		next = m.Policy
	}
	if m, ok := (<-client.Events()).(keysock.Expire); !ok || m.Cause != "idle" {
		t.Fatalf("%+v: an Expire must not get lost", m)
	}
}

// TestCallHonoursItsContext with a data path that neither reads nor answers.
func TestCallHonoursItsContext(t *testing.T) {
	control, datapath := pair(t)
	client := keysock.NewClient(control)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := client.Call(ctx, keysock.Flush{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("unanswered: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var err error
	for err == nil { // until the socket is full
		err = client.Inject(ctx, keysock.Inject{Data: make([]byte, 60000)})
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("unread: %v", err)
	}
	// The next request is not harmed by the deadlines of those before it.
	go keysock.Serve(datapath, &gateway{})
	if err := client.Call(within(t), keysock.PolicyAdd{}); err != nil {
		t.Fatal(err)
	}
}

func TestPeerDeathEndsCallsAndEvents(t *testing.T) {
	for _, unread := range []bool{true, false} { // the request that the peer died over
		control, datapath := pair(t)
		client := keysock.NewClient(control)
		called := make(chan error, 1)
		go func() { called <- client.Call(within(t), keysock.Flush{}) }()
		if unread {
			time.Sleep(20 * time.Millisecond)
		} else if _, _, err := datapath.Receive(); err != nil {
			t.Fatal(err)
		}
		datapath.Close()
		if err := <-called; !errors.Is(err, keysock.ErrClosed) {
			t.Fatalf("request unread %v: %v", unread, err)
		}
		if m, open := <-client.Events(); open {
			t.Fatalf("event %v from a dead data path", m)
		}
		if err := client.Call(within(t), keysock.Flush{}); !errors.Is(err, keysock.ErrClosed) {
			t.Fatal(err)
		}
	}
}

// TestKilledProcess: the other end is a real process that dies in mid-call.
func TestKilledProcess(t *testing.T) {
	a, b, err := keysock.Pair()
	if err != nil {
		t.Fatal(err)
	}
	control, err := keysock.New(a)
	if err != nil {
		t.Fatal(err)
	}
	client := keysock.NewClient(control)
	defer client.Close()
	peer := exec.Command("sleep", "60")
	peer.ExtraFiles = []*os.File{b}
	if err := peer.Start(); err != nil {
		t.Fatal(err)
	}
	b.Close()
	called := make(chan error, 1)
	go func() { called <- client.Call(within(t), keysock.Dump{}) }()
	time.Sleep(50 * time.Millisecond)
	if err := peer.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = peer.Wait()
	if err := <-called; !errors.Is(err, keysock.ErrClosed) {
		t.Fatal(err)
	}
}
