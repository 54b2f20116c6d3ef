package main_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// paced is traffic that leaves room for a busy machine, and waits for a peer that
// gets no CPU: what counts here is that not one packet is lost while the SA under
// it is replaced.
var paced = netlab.BulkOptions{Duration: 5 * time.Second, Rate: 2000, Window: 32}

// short makes a child SA be replaced after 2.5 to 2.9 seconds.
var short = []string{"lifetime: {time: 3s}"}

func TestChildRekeyUnderTraffic(t *testing.T) {
	for _, c := range []struct {
		name   string
		r6, r8 bool // who has the short lifetime
	}{{"by initiator", true, false}, {"by responder", false, true}, {"by both", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "rekey", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
				if c.r6 {
					r6.ChildLines = short
				}
				if c.r8 {
					r8.ChildLines = short
				}
			})
			first := b.up()
			b.carry(4, paced)
			b.replaced(first)
			b.clean()
		})
	}
}

// replaced wants another child SA than the first, known to both ends by the same
// pair of SPIs.
func (b *bed) replaced(first api.ChildSA) {
	b.t.Helper()
	now := children(b.t, b.r6, "installed")
	if len(now) == 0 || now[len(now)-1].SPIIn == first.SPIIn || now[len(now)-1].SPIOut == first.SPIOut {
		b.t.Errorf("child SA was not replaced: first %s/%s, now %+v", first.SPIIn, first.SPIOut, now)
		return
	}
	rekeys, err := testbed.Table[api.Rekeys](b.t.Context(), b.r6, api.Rekeying)
	check(b.t, err)
	if len(rekeys) != 1 || rekeys[0].Count == 0 || rekeys[0].GapUS > 0 || rekeys[0].GapPackets > 0 {
		b.t.Errorf("rekeys are counted as %+v, want some without a gap", rekeys)
	}
	if b.r8 == nil {
		return
	}
	for _, c := range children(b.t, b.r8, "installed") {
		if c.SPIIn == now[len(now)-1].SPIOut && c.SPIOut == now[len(now)-1].SPIIn {
			return
		}
	}
	b.t.Errorf("the gateways do not agree on a child SA: %+v", now)
}

func TestChildRekeyWithStrongSwan(t *testing.T) {
	t.Run("ours", func(t *testing.T) {
		b := newBed(t, "rekey-ours", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, _ *netlab.StrongSwanConfig) {
			r6.ChildLines = short
		})
		first := b.up()
		b.carry(4, paced)
		b.replaced(first)
		b.clean()
	})
	t.Run("theirs", func(t *testing.T) {
		b := newBed(t, "rekey-theirs", netlab.Options{}).strongSwan(nil)
		first := b.up()
		asked := make(chan error, 1)
		time.AfterFunc(time.Second, func() { asked <- b.swan.RekeyChild(context.WithoutCancel(t.Context())) })
		o := paced
		o.Duration = 3 * time.Second
		b.carry(4, o)
		check(t, <-asked)
		b.replaced(first)
		b.clean()
	})
}

// TestIKERekeyUnderTraffic: the child SAs move to the new IKE SA and notice nothing.
func TestIKERekeyUnderTraffic(t *testing.T) {
	b := newBed(t, "rekey-ike", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) {
		r6.Lines = []string{"lifetime: 2s"}
	})
	b.outlives()
}

// outlives carries traffic for longer than the IKE SA lives, which is two seconds: it
// is replaced, and the child SA stays.
func (b *bed) outlives() {
	b.t.Helper()
	first := b.up()
	o := paced
	o.Duration = 3 * time.Second
	b.carry(4, o)
	if now := children(b.t, b.r6, "installed"); len(now) != 1 || now[0].SPIIn != first.SPIIn {
		b.t.Errorf("child SA did not survive: %+v", now)
	}
	if sas, err := testbed.Table[api.IKESA](b.t.Context(), b.r6, api.IKESAs); err != nil || len(sas) == 0 || sas[len(sas)-1].Age > 2.5 {
		b.t.Errorf("IKE SA was not replaced: %+v, %v", sas, err)
	}
	b.clean()
}

// TestRekeyMinute: for a minute both ends replace the child SA and the IKE SA
// every few seconds, so that they also do it at once, and not one packet is lost.
func TestRekeyMinute(t *testing.T) {
	t.Parallel()
	b := newBed(t, "minute", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		r6.Lines, r6.ChildLines = []string{"lifetime: 9s"}, []string{"lifetime: {time: 5s}"}
		r8.ConnLines = []string{"rekey_time = 7s", "over_time = 10s", "rand_time = 1s"}
		r8.ChildLines = []string{"rekey_time = 4s", "life_time = 12s", "rand_time = 1s"}
	})
	first := b.up()
	o := paced
	o.Duration, o.Rate = time.Minute, 500
	b.carry(4, o)
	b.replaced(first)
	b.clean()
	log := b.r6.Log()
	for _, event := range []string{"IKE SA rekeyed", "child SA established"} {
		if n := strings.Count(log, event); n < 5 {
			t.Errorf("%q stands %d times in the log", event, n)
		}
	}
}

// TestRekeyAtOnce: both ends replace the IKE SA and the child SA at the same
// moment, several times, and not one packet is lost; with ML-KEM in each of them, too.
func TestRekeyAtOnce(t *testing.T) {
	t.Run("classical", func(t *testing.T) {
		b := newBed(t, "at-once", netlab.Options{}).spindles(nil)
		rekeyAtOnce(b)
	})
	t.Run("hybrid", func(t *testing.T) {
		b := newBed(t, "at-once-kem", netlab.Options{MTU: 1280}).spindles(func(r6, r8 *testbed.Tunnel) {
			for _, end := range []*testbed.Tunnel{r6, r8} {
				end.IKE, end.ESP = "aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes128gcm16-x25519-ke1_mlkem768"
			}
		})
		rekeyAtOnce(b)
		if got := ikeSuite(t, b.r6); !strings.HasSuffix(got, "-x25519-ke1_mlkem768") {
			t.Errorf("the IKE SA is rekeyed with %s", got)
		}
		for _, c := range children(t, b.r6, "installed") {
			if !strings.HasSuffix(c.Suite, "-x25519-ke1_mlkem768") {
				t.Errorf("a child SA is rekeyed with %s", c.Suite)
			}
		}
		if log := b.r6.Log() + b.r8.Log(); !strings.Contains(log, "IKE_FOLLOWUP_KE request") {
			t.Error("no IKE_FOLLOWUP_KE in the log")
		}
	})
}

func rekeyAtOnce(b *bed) {
	t := b.t
	t.Helper()
	first := b.up()
	asked := make(chan error, 20)
	for i := range 5 {
		time.AfterFunc(time.Duration(200+500*i)*time.Millisecond, func() {
			for _, child := range []string{"", "lan"} {
				for g, conn := range map[*testbed.Gateway]string{b.r6: "r8", b.r8: "r6"} {
					go func() { asked <- g.Rekey(context.WithoutCancel(t.Context()), api.Target{Conn: conn, Child: child}) }()
				}
			}
		})
	}
	o := paced
	o.Duration = 3 * time.Second
	b.carry(4, o)
	for range cap(asked) {
		check(t, <-asked)
	}
	// An end that was refused because the other was busy asks again after a moment.
	check(t, b.r6.Await(t.Context(), 2*patience, "replace the child SA", func() bool {
		list := children(t, b.r6, "installed")
		return len(list) > 0 && !slices.ContainsFunc(list, func(c api.ChildSA) bool { return c.SPIIn == first.SPIIn })
	}))
	b.replaced(first)
	b.clean()
}
