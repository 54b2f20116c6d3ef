package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// says runs one command against a gateway, as its operator does, and wants every
// word in what it prints.
func (b *bed) says(g *testbed.Gateway, line string, words ...string) string {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), b.exe, append(strings.Fields(line), "--runtime-dir", g.Runtime)...).CombinedOutput()
	if err != nil {
		b.t.Errorf("%s: spindle %s: %v", g.Name, line, err)
	}
	for _, w := range words {
		if !strings.Contains(string(out), w) {
			b.t.Errorf("%s: spindle %s lacks %q:\n%s", g.Name, line, w, out)
		}
	}
	return string(out)
}

// TestOperatorsWords types each word of O1 at a gateway with a tunnel.
func TestOperatorsWords(t *testing.T) { with(t, ours, operatorsWords) }

func operatorsWords(t *testing.T, p party) {
	b := p.bed(t, "words", func(r6, r8 *testbed.Tunnel) {
		r6.Gateway = append(r6.Gateway, "metrics: 127.0.0.1:9500")
		r8.Lines = append(r8.Lines, "invalid_spi_recovery: true")
	}, nil)
	exchanges := map[int][]string{1: {"MAIN_MODE", "QUICK_MODE", "ISAKMP SA established"}, 2: {"IKE_SA_INIT", "IKE_AUTH", "IKE SA established"}}[p.version]
	state := map[int]string{1: "QM_IDLE  IKEv1", 2: "READY  IKEv2"}[p.version]
	suite := map[int]string{1: "aes128-sha256-ecp256", 2: "aes128gcm16"}[p.version]
	stop := b.debug(b.r8)
	b.says(b.r6, "up r8", "r8: up")
	b.ping(b.A, b.A4, b.B4, 3)
	ladder := stop()
	for _, w := range append(exchanges, "<-- 192.0.2.6:500", "--> 192.0.2.6:500") {
		if !strings.Contains(ladder, w) {
			t.Errorf("debug crypto isakmp lacks %q:\n%s", w, ladder)
		}
	}
	b.says(b.r6, "show crypto isakmp sa", "192.0.2.8  192.0.2.6  "+state)
	b.says(b.r8, "show crypto isakmp sa detail", "remote id: 192.0.2.6, we are the responder", suite)
	b.says(b.r6, "show crypto ipsec sa", "#pkts encaps: 3", "#pkts decaps: 3", "current_peer 192.0.2.8")
	b.says(b.r6, "show crypto session", "Session status: UP-ACTIVE", "IPSEC FLOW: permit 10.6.6.6/32")
	b.says(b.r8, "show crypto isakmp peers 192.0.2.6 detail", "DPD: on-demand, interval 10s, retry 2s, tries 5", "invalid SPI recovery: yes")
	b.peersJSON()
	b.scrape()
	b.clears()
}

// debug follows a gateway's IKE until the answer is called, which returns it.
func (b *bed) debug(g *testbed.Gateway) func() string {
	b.t.Helper()
	ctx, interrupt := context.WithCancel(b.t.Context())
	cmd := exec.CommandContext(ctx, b.exe, "debug", "crypto", "isakmp", "peer", b.R6Addr.String(), "--runtime-dir", g.Runtime)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = patience
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(b.t, cmd.Start())
	check(b.t, g.Await(b.t.Context(), patience, "be followed", func() bool { return connected(cmd.Process.Pid) }))
	return func() string {
		interrupt()
		_ = cmd.Wait() // killed by the context, as it says
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			b.t.Errorf("debug exits with %d at an interrupt:\n%s", code, out.String())
		}
		return out.String()
	}
}

// connected tells whether a process holds a socket: a follower's only one leads to
// the gateway.
func connected(pid int) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); strings.HasPrefix(target, "socket:") {
			return true
		}
	}
	return false
}

// peersJSON has every key that scripts rely on.
func (b *bed) peersJSON() {
	b.t.Helper()
	var rows []map[string]any
	check(b.t, json.Unmarshal([]byte(b.says(b.r6, "show crypto isakmp peers detail -o json")), &rows))
	if len(rows) != 1 {
		b.t.Fatalf("%d peers: %v", len(rows), rows)
	}
	for _, key := range strings.Fields("peer local last_received_s my_last_seq peer_last_seq outstanding mode interval_s retry_s tries recovery") {
		if _, ok := rows[0][key]; !ok {
			b.t.Errorf("no %s in %v", key, rows[0])
		}
	}
	if rows[0]["recovery"] != false || rows[0]["mode"] != "on-demand" || rows[0]["interval_s"] != 10.0 {
		b.t.Errorf("peer: %v", rows[0])
	}
}

// scrape reads /metrics over TCP, as Prometheus does.
func (b *bed) scrape() {
	b.t.Helper()
	out, err := b.R6.Run(b.t.Context(), "curl", "-sS", "--max-time", "5", "http://127.0.0.1:9500/metrics")
	check(b.t, err)
	for _, want := range []string{
		`spindle_connection_up{conn="r8",reason="up"} 1`,
		`spindle_child_up{child="lan",conn="r8",reason="up"} 1`,
		`spindle_negotiations_total{conn="r8",outcome="ike_established"} 1`,
		`spindle_negotiations_total{conn="r8",outcome="child_established"} 1`,
		`spindle_rekeys_total{child="lan",conn="r8"} 0`,
		`spindle_child_packets_total{child="lan",conn="r8",direction="out"`,
	} {
		if !strings.Contains(out, want) {
			b.t.Errorf("the metrics lack %s:\n%s", want, out)
		}
	}
}

// clears takes SAs away in each way there is, and sees them come back.
func (b *bed) clears() {
	b.t.Helper()
	ike := func(g *testbed.Gateway) string {
		rows, err := testbed.Table[api.IKESA](b.t.Context(), g, api.IKESAs)
		check(b.t, err)
		if len(rows) == 0 {
			return ""
		}
		return rows[len(rows)-1].SPIi
	}
	none := func(g *testbed.Gateway) {
		check(b.t, g.Await(b.t.Context(), patience, "be without child SA", func() bool {
			return len(children(b.t, g, "installed")) == 0
		}))
	}
	first := ike(b.r6)
	b.says(b.r6, "clear crypto sa", "cleared 0 IKE SAs and 1 child SAs")
	none(b.r6)
	none(b.r8) // it was told
	b.carries()
	if ike(b.r6) != first {
		b.t.Error("clear crypto sa made a new IKE SA")
	}
	sas, err := testbed.Table[api.IKESA](b.t.Context(), b.r6, api.IKESAs)
	check(b.t, err)
	_, port, _ := strings.Cut(sas[len(sas)-1].Remote, ":") // 4500 if the peers may roam
	b.says(b.r6, "clear crypto session local 192.0.2.6 port "+port+" remote 192.0.2.8 port "+port, "cleared 1 IKE SAs and 1 child SAs")
	none(b.r8)
	b.carries()
	if now := ike(b.r6); now == first || now == "" {
		b.t.Errorf("clear crypto session left the IKE SA %s, now %s", first, now)
	}
	// V8: R8 loses its SAs and tells nobody; recovery is on there.
	b.says(b.r8, "clear crypto sa peer 192.0.2.6 --silent", "cleared 1 IKE SAs and 1 child SAs")
	none(b.r8)
	if len(children(b.t, b.r6, "installed")) != 1 {
		b.t.Error("clear crypto sa --silent told the peer")
	}
	b.carries()
	if !strings.Contains(b.r8.Log(), "%CRYPTO-4-RECVD_PKT_INV_SPI") {
		b.t.Error("R8 does not log the invalid SPI")
	}
}

// carries waits until a packet makes it there and back.
func (b *bed) carries() {
	b.t.Helper()
	check(b.t, b.r6.Await(b.t.Context(), patience, "carry traffic", func() bool {
		r, err := netlab.Ping(b.t.Context(), b.A, b.A4, b.B4, 1, 0, 300*time.Millisecond)
		return err == nil && r.Received == 1
	}))
}

// TestUpSaysWhyNot: up waits, and says why the child SA does not stand.
func TestUpSaysWhyNot(t *testing.T) {
	b := newBed(t, "upwhy", netlab.Options{}).spindles(func(r6, _ *testbed.Tunnel) { r6.ESP = "aes256gcm16" })
	out, err := exec.CommandContext(t.Context(), b.exe, "up", "r8/lan", "--runtime-dir", b.r6.Runtime).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "r8 is not up: ") || !strings.Contains(string(out), "NO_PROPOSAL_CHOSEN") {
		t.Errorf("up: %v, %s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), b.exe, "up", "r8", "--no-wait", "--runtime-dir", b.r6.Runtime).CombinedOutput()
	if err != nil || string(out) != "r8: coming up\n" {
		t.Errorf("up --no-wait: %v, %s", err, out)
	}
}
