package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDemo reads the figures as a script would.
func TestDemo(t *testing.T) {
	exe := executable(t)
	for _, peer := range []string{"spindle", "strongswan"} {
		t.Run(peer, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), exe, "demo", "--peer", peer, "--seconds", "1", "-o", "json").Output()
			check(t, err)
			var d struct {
				Peer, Suite      *string
				Sent             *int     `json:"ping_sent"`
				Received         *int     `json:"ping_received"`
				PacketsSent      *uint64  `json:"packets_sent"`
				PacketsReceived  *uint64  `json:"packets_received"`
				Lost             *uint64  `json:"lost"`
				Mbit             *float64 `json:"mbit_per_s"`
				ESP              *uint64  `json:"esp_packets_on_wire"`
				Clear            *uint64  `json:"clear_packets_on_wire"`
				Leftovers, Drops *[]string
			}
			check(t, json.Unmarshal(out, &d))
			switch {
			case d.Peer == nil || d.Suite == nil || d.Sent == nil || d.Received == nil || d.PacketsSent == nil || d.PacketsReceived == nil ||
				d.Lost == nil || d.Mbit == nil || d.ESP == nil || d.Clear == nil || d.Leftovers == nil || d.Drops == nil:
				t.Fatalf("a field is missing: %s", out)
			case *d.Peer != peer || *d.Suite != "aes128gcm16" || *d.Sent != 10 || *d.Received != 10 || *d.PacketsSent == 0 ||
				*d.PacketsReceived != *d.PacketsSent || *d.Lost != 0 || *d.Mbit <= 0 || *d.ESP < *d.PacketsSent || *d.Clear != 0 ||
				len(*d.Leftovers)+len(*d.Drops) != 0:
				t.Errorf("figures do not add up: %s", out)
			}
		})
	}
}

// TestDemoInterrupted: Ctrl-C in the middle leaves no namespace, folder or process.
func TestDemoInterrupted(t *testing.T) {
	cmd := exec.Command(executable(t), "demo", "--seconds", "60")
	var out syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	for deadline := time.Now().Add(patience); !strings.Contains(out.String(), "child SA"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			check(t, cmd.Process.Kill())
			t.Fatalf("no bulk traffic after %v: %s", patience, out.String())
		}
	}
	check(t, cmd.Process.Signal(syscall.SIGINT))
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	id := "spl-demo-" + strconv.Itoa(cmd.Process.Pid)
	for _, pattern := range []string{"/run/netns/" + id + "*", "/run/spindle-netlab/" + id + "*"} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		if line, _ := os.ReadFile(path); bytes.Contains(line, []byte(id)) {
			t.Errorf("still runs: %s", bytes.ReplaceAll(line, []byte{0}, []byte{' '}))
		}
	}
}

// syncBuffer collects what a process prints while it is read.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
