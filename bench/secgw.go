package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// secgw is DPDK's ipsec-secgw: one lcore, packets from a file that it reads into
// memory once and copies into a fresh buffer each time, into nowhere; the same
// tunnel, key and packets as our pipeline.
type secgw struct {
	exe, dir string
	suite    esp.Suite
	cpu      int
}

// secgwCase is one thing to measure.
type secgwCase struct {
	direction sadb.Direction
	size      Size
	huge      bool // on 2 MiB pages
	inline    bool // encrypts on the spot (type cpu-crypto), not by a crypto device's queue
	sas       int  // tunnels, whose packets come in turn
}

// secgwTicks are the seconds that it runs for after the first, which warms up.
const secgwTicks = 3

// measure returns the nanoseconds of CPU time that a packet takes: the median over
// its once-a-second reports.
func (s *secgw) measure(ctx context.Context, c secgwCase) (float64, error) {
	if err := s.writeFiles(c); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", s.exe}, s.arguments(c)...)...)
	cmd.Dir = s.dir
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start ipsec-secgw: %w", err)
	}
	ns, err := followSecgw(out, cmd.Process.Pid)
	cancel()
	waited := cmd.Wait()
	if err != nil {
		return 0, fmt.Errorf("ipsec-secgw: %w; %w; %s", err, waited, lastLines(errs.String(), 3))
	}
	return ns, nil
}

// followSecgw reads the reports. Packets and CPU time are both since the start,
// so the difference of two reports is one tick's work.
func followSecgw(out io.Reader, pid int) (float64, error) {
	type tick struct{ packets, ns uint64 }
	var ticks []tick
	var dropped uint64
	lines := bufio.NewScanner(out)
	for lines.Scan() && len(ticks) < secgwTicks+2 {
		name, value, ok := strings.Cut(lines.Text(), ":")
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
		if !ok || err != nil {
			continue
		}
		switch name {
		case "Total packets sent":
			ns, err := cpuTime(pid)
			if err != nil {
				return 0, err
			}
			ticks = append(ticks, tick{n, ns})
		case "Total packets dropped":
			dropped = n
		}
	}
	switch {
	case len(ticks) < secgwTicks+2:
		return 0, errors.New("ended before its reports")
	case dropped > 0:
		return 0, fmt.Errorf("it dropped %d packets", dropped)
	}
	var costs []float64
	for i := 2; i < len(ticks); i++ {
		packets := ticks[i].packets - ticks[i-1].packets
		if packets == 0 {
			return 0, errors.New("it sent nothing for a second")
		}
		costs = append(costs, float64(ticks[i].ns-ticks[i-1].ns)/float64(packets))
	}
	return median(costs), nil
}

// cpuTime is what a process's main thread, which is the lcore, has spent on a CPU
// (Documentation/scheduler/sched-stats.rst).
func cpuTime(pid int) (uint64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, pid))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return strconv.ParseUint(first, 10, 64)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// secgwPrefix names its run-time files, so that another DPDK program on this host
// is not disturbed; close removes what it leaves.
func secgwPrefix() string { return "spindle" + strconv.Itoa(os.Getpid()) }

func (s *secgw) close() error { return os.RemoveAll(filepath.Join("/var/run/dpdk", secgwPrefix())) }

// arguments: port 0 is on the encrypted side (-u 0x1), port 1 on the clear one.
func (s *secgw) arguments(c secgwCase) []string {
	const nowhere, source = "net_null%d,no-rx=1", "net_pcap%d,rx_pcap=frames.pcap,infinite_rx=1"
	from := [2]string{nowhere, source}
	if c.direction == sadb.Inbound {
		from = [2]string{source, nowhere}
	}
	memory := []string{"--no-huge", "-m", "2048"}
	if c.huge {
		memory = []string{"--in-memory", "--iova-mode=va", "-m", "512"}
	}
	args := append([]string{
		"-l", strconv.Itoa(s.cpu), "--no-pci", "--no-telemetry", "--file-prefix=" + secgwPrefix(),
		"--vdev", fmt.Sprintf(from[0], 0), "--vdev", fmt.Sprintf(from[1], 1), "--vdev", "crypto_aesni_gcm0",
	}, memory...)
	// Inbound frames repeat, so its replay window is off; ours stays on.
	return append(args, "--", "-p", "0x3", "-P", "-u", "0x1", "--config", fmt.Sprintf("(0,0,%d),(1,0,%d)", s.cpu, s.cpu),
		"-l", "-w", "0", "-t", "1", "-f", "secgw.cfg")
}

// writeFiles writes its configuration and the packets: chunks of ours, until every
// tunnel has had one.
func (s *secgw) writeFiles(c secgwCase) error {
	var peers []*esp.Outbound
	for n := range c.sas {
		theirs := peerSA(n, sadb.Inbound, s.suite)
		peer, err := esp.NewOutbound(&theirs)
		if err != nil {
			return err
		}
		peers = append(peers, peer)
	}
	source := newSource(c.direction, c.size, c.sas, s.suite, peers)
	var frames [][]byte
	for len(frames) < max(chunk, c.sas) {
		if err := source.refill(); err != nil {
			return err
		}
		for _, frame := range source.frames {
			frames = append(frames, bytes.Clone(frame))
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "frames.pcap"), pcap(frames), 0o600),
		os.WriteFile(filepath.Join(s.dir, "secgw.cfg"), []byte(s.config(c)), 0o600))
}

func (s *secgw) config(c secgwCase) string {
	var b strings.Builder
	kind := ""
	if c.inline {
		kind = " type cpu-crypto"
	}
	for n := range c.sas {
		key := make([]string, 0, s.suite.KeyLen)
		for _, k := range keyOf(n, s.suite.KeyLen) {
			key = append(key, fmt.Sprintf("%02x", k))
		}
		spi := uint32(spiOf(n))
		side := func(word string, from, to, outerFrom, outerTo netip.Addr) {
			fmt.Fprintf(&b, "sp ipv4 %s esp protect %d pri 1 src %v/32 dst %v/32 sport 0:65535 dport 0:65535\n", word, spi, from, to)
			fmt.Fprintf(&b, "sa %s %d aead_algo %s aead_key %s mode ipv4-tunnel src %v dst %v%s\n",
				word, spi, secgwNames[s.suite.Keyword], strings.Join(key, ":"), outerFrom, outerTo, kind)
		}
		side("out", hostAddr, siteAddr(n), gatewayAddr, peerAddr(n))
		side("in", siteAddr(n), hostAddr, peerAddr(n), gatewayAddr)
	}
	fmt.Fprintf(&b, "rt ipv4 dst %v port 0\nrt ipv4 dst %v/32 port 1\n", peerNet, hostAddr)
	fmt.Fprintf(&b, "neigh port 0 %s\nneigh port 1 %s\n", macText(peerMAC), macText(hostMAC))
	return b.String()
}

// secgwNames are the suites that both have.
var secgwNames = map[string]string{"aes128gcm16": "aes-128-gcm", "aes192gcm16": "aes-192-gcm", "aes256gcm16": "aes-256-gcm"}

func macText(m packet.MAC) string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// pcap is a capture file of Ethernet frames, in the classic format.
func pcap(frames [][]byte) []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4) // version 2.4
	b = append(b, make([]byte, 8)...)             // time zone, accuracy
	b = le.AppendUint32(le.AppendUint32(b, 1<<16), 1)
	for _, f := range frames {
		b = append(b, make([]byte, 8)...) // time stamp
		b = le.AppendUint32(le.AppendUint32(b, uint32(len(f))), uint32(len(f)))
		b = append(b, f...)
	}
	return b
}
