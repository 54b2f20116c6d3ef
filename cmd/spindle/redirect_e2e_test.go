package main_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestRedirect: RFC 5685 §5, the operator empties a gateway by a reload: its client
// goes to the other one and loses no packet on the way.
func TestRedirect(t *testing.T) {
	t.Parallel()
	b := newBed(t, "redirect", netlab.Options{})
	ns := b.another()
	b.spindles(nil)
	r9 := testbed.R8(b.Gateways)
	r9.Auth = []string{"local: {address: 192.0.2.9, id: 192.0.2.8}", "remote: {addresses: [192.0.2.6]}", fmt.Sprintf("psk: {value: %q}", testbed.PSK)}
	b.start(ns, r9.YAML())
	b.up()
	emptied := testbed.R8(b.Gateways)
	emptied.Lines = []string{"redirect: 192.0.2.9", "redirect_grace: 30s"}
	check(t, b.r8.Configure(emptied.YAML()))
	reloaded := make(chan error, 1)
	time.AfterFunc(500*time.Millisecond, func() { reloaded <- b.r8.Reload(t.Context()) })
	r, err := netlab.Ping(t.Context(), b.A, b.A4, b.B4, 150, 20*time.Millisecond, time.Second)
	check(t, err)
	check(t, <-reloaded)
	if r.Received != r.Sent {
		t.Errorf("lost on the way to the other gateway: %+v", r)
	}
	check(t, b.r6.Await(t.Context(), 3*patience, "leave the first gateway", func() bool {
		list := children(t, b.r6, "installed")
		return len(list) == 1 && strings.HasPrefix(list[0].Remote, "192.0.2.9:") && len(children(t, b.r8, "installed")) == 0
	}))
	b.ping(b.A, b.A4, b.B4, 5)
}

// TestRedirectStrongSwan: strongSwan is the client. It is told when its tunnel stands,
// and in IKE_AUTH, where only one of the connections that it may mean sends it on (§6).
func TestRedirectStrongSwan(t *testing.T) {
	t.Parallel()
	b := newBed(t, "redirect-swan", netlab.Options{}).strongSwan(nil)
	_, err := b.swan.Initiate(t.Context())
	check(t, err)
	b.up()
	emptied := testbed.R6(b.Gateways)
	emptied.Lines = []string{"redirect: 192.0.2.9"}
	follows := func(config, what, message string, then func()) {
		t.Helper()
		mark := len(b.swan.Log())
		check(t, b.r6.Configure(config))
		check(t, b.r6.Reload(t.Context()))
		then()
		check(t, b.r6.Await(t.Context(), patience, what, func() bool {
			log := b.swan.Log()[mark:]
			return strings.Contains(b.r6.Log(), message) && strings.Contains(log, "redirected to 192.0.2.9")
		}))
	}
	follows(emptied.YAML(), "send strongSwan on, whose tunnel stands", "INFORMATIONAL request 0 [ N(REDIRECT) ]", func() {})

	other := testbed.R6(b.Gateways)
	other.Conn, other.RemoteID = "other", netip.MustParseAddr("192.0.2.77")
	other.RemoteTS = prefixes("10.9.10.0/24")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // nobody is where it is sent to
	follows(emptied.YAML()+other.Connection(), "send strongSwan on in IKE_AUTH", "IKE_AUTH response 1 [ IDr AUTH N(REDIRECT) ]", func() {
		_ = b.swan.Terminate(t.Context())
		go func() { _, _ = b.swan.Initiate(ctx) }()
	})
}
