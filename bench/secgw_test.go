package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/datapath/esp"
	"spindle/sadb"
)

// reports is what ipsec-secgw prints in so many seconds, at a million packets each.
func reports(seconds, dropped int) string {
	var b strings.Builder
	for i := range seconds {
		fmt.Fprintf(&b, "\x1b[2J\x1b[1;1H\nPackets sent:   7\nTotal packets received: %d\nTotal packets sent:   %d\nTotal packets dropped:    %d\n",
			i*1_000_000, i*1_000_000, dropped)
	}
	return b.String()
}

func TestFollowSecgw(t *testing.T) {
	for _, c := range []struct {
		name, out, err string
	}{
		{"enough reports", reports(secgwTicks+3, 0), ""},
		{"ended early", reports(secgwTicks, 0), "ended before its reports"},
		{"drops", reports(secgwTicks+3, 5), "dropped 5 packets"},
		{"stands still", strings.Repeat("Total packets sent: 9\n", secgwTicks+2), "sent nothing"},
		{"nothing", "", "ended before its reports"},
	} {
		ns, err := followSecgw(strings.NewReader(c.out), os.Getpid())
		if c.err == "" && (err != nil || ns < 0) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v ns, %v", c.name, ns, err)
		}
	}
}

// TestPcap has tcpdump read what ipsec-secgw is given.
func TestPcap(t *testing.T) {
	if _, err := exec.LookPath("tcpdump"); err != nil {
		t.Skip("needs tcpdump")
	}
	suite, _ := esp.Find("aes128gcm16")
	s := newSource(sadb.Outbound, IMIX, 1, suite, nil)
	if err := s.refill(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "tcpdump", "-nn", "-e", "-r", "-")
	cmd.Stdin = bytes.NewReader(pcap(s.frames))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(s.frames) {
		t.Fatalf("%d packets, want %d", len(lines), len(s.frames))
	}
	for i, frame := range s.frames {
		want := fmt.Sprintf("length %d: %v.1024 > %v.1025: UDP, length %d", len(frame), hostAddr, siteAddr(0), len(frame)-42)
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("packet %d: %q, want ...%q", i, lines[i], want)
		}
	}
}

// Every tunnel of ipsec-secgw has its policies, SAs and packets.
func TestSecgwFiles(t *testing.T) {
	suite, _ := esp.Find("aes128gcm16")
	s := &secgw{dir: t.TempDir(), suite: suite}
	for _, inline := range []bool{false, true} {
		c := secgwCase{direction: sadb.Inbound, size: 64, inline: inline, sas: 300}
		if err := s.writeFiles(c); err != nil {
			t.Fatal(err)
		}
		config, err := os.ReadFile(s.dir + "/secgw.cfg")
		if err != nil {
			t.Fatal(err)
		}
		text := string(config)
		if got := strings.Count(text, "\nsa ") + strings.Count(text, "\nsp "); got != 4*c.sas-1 { // the first line has none before it
			t.Errorf("%d lines of policies and SAs after the first", got)
		}
		if got := strings.Count(text, " type cpu-crypto\n"); (got == 2*c.sas) != inline {
			t.Errorf("inline %v: %d SAs say so", inline, got)
		}
		frames, err := os.ReadFile(s.dir + "/frames.pcap")
		if err != nil {
			t.Fatal(err)
		}
		for n := range c.sas {
			if spi := binary.BigEndian.AppendUint32(nil, uint32(spiOf(n))); !bytes.Contains(frames, spi) {
				t.Errorf("no packet of tunnel %d", n)
			}
		}
	}
}

// TestBusy is what /proc/stat says between two looks.
func TestBusy(t *testing.T) {
	got := busy([]ticks{{10, 100}, {0, 100}}, []ticks{{60, 200}, {0, 300}})
	if diff := cmp.Diff([]float64{0.5, 0}, got); diff != "" {
		t.Error(diff)
	}
}
