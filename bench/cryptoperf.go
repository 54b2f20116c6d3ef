package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"spindle/datapath/esp"
	"spindle/datapath/esp/gcm"
)

// cryptoPerf is DPDK's dpdk-test-crypto-perf with ipsec-mb: the AES-GCM that
// ipsec-secgw uses, alone, on one lcore, in bursts of 32.
const (
	cryptoPerf     = "dpdk-test-crypto-perf"
	cryptoPerfOps  = 500_000
	cryptoPerfPeer = "ipsec-mb"
)

var cryptoSizes = []Size{64, 256, 512, 1024, 1400}

// cryptos compares AES-GCM by itself: 8 bytes of associated data, one key, buffers
// that stay in the cache. Of each the least of all turns counts: what more there
// was, other programs of the machine caused.
func (c *Comparison) cryptos(ctx context.Context, o *CompareOptions, suite esp.Suite) error {
	unpin, err := pin(o.CPU)
	if err != nil {
		return err
	}
	defer unpin()
	for _, op := range []string{"seal", "open"} {
		ours, theirs := map[Size]float64{}, map[Size]float64{}
		for range o.Repeats {
			got, err := runCryptoPerf(ctx, o, c.Machine.TSCMHz, suite, op)
			if err != nil {
				c.miss(cryptoPerfPeer, "%v", err)
				return ctx.Err()
			}
			for _, size := range cryptoSizes {
				ns, err := cipherAlone(suite, o.Crypto, int(size), op, o.Time/Runs)
				if err != nil {
					return fmt.Errorf("%s %v: %w", op, size, err)
				}
				ours[size], theirs[size] = least(ours[size], ns), least(theirs[size], got[size])
			}
		}
		for _, size := range cryptoSizes {
			c.Ratios = append(c.Ratios, Ratio{
				Bench: "crypto", Peer: cryptoPerfPeer, Direction: op, Case: size.String(),
				Unit: "Mpps", Spindle: 1000 / ours[size], Other: 1000 / theirs[size], Ratio: theirs[size] / ours[size],
			})
			o.Say("crypto %s %v: spindle %.1f ns, ipsec-mb %.1f ns", op, size, ours[size], theirs[size])
		}
	}
	return nil
}

func least(so, now float64) float64 {
	if so == 0 {
		return now
	}
	return min(so, now)
}

// runCryptoPerf returns the nanoseconds an operation took, by size.
func runCryptoPerf(ctx context.Context, o *CompareOptions, tscMHz float64, suite esp.Suite, op string) (map[Size]float64, error) {
	if tscMHz == 0 {
		return nil, errors.New("this machine's TSC is of unknown speed, and it counts cycles")
	}
	prefix := secgwPrefix()
	defer os.RemoveAll(filepath.Join("/var/run/dpdk", prefix))
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	sizes := make([]string, len(cryptoSizes))
	for i, size := range cryptoSizes {
		sizes[i] = size.String()
	}
	main := 0
	if o.CPU == 0 {
		main = 1
	}
	cmd := exec.CommandContext(ctx, cryptoPerf, "-l", fmt.Sprintf("%d,%d", main, o.CPU), "--main-lcore", strconv.Itoa(main),
		"--no-huge", "-m", "1024", "--no-pci", "--no-telemetry", "--file-prefix="+prefix, "--vdev", "crypto_aesni_gcm",
		"--", "--devtype", "crypto_aesni_gcm", "--ptest", "throughput", "--optype", "aead", "--aead-algo", "aes-gcm",
		"--aead-op", map[string]string{"seal": "encrypt", "open": "decrypt"}[op], "--aead-key-sz", strconv.Itoa(suite.KeyLen-4),
		"--aead-iv-sz", "12", "--aead-aad-sz", "8", "--digest-sz", "16", "--buffer-sz", strings.Join(sizes, ","),
		"--burst-sz", "32", "--total-ops", strconv.Itoa(cryptoPerfOps), "--silent", "--csv-friendly")
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, lastLines(errs.String(), 3))
	}
	return readCryptoPerf(string(out), tscMHz)
}

// readCryptoPerf takes size and cycles out of lines like
//
//	#lcore id,Buffer Size(B),Burst Size,Enqueued,Dequeued,Failed Enq,Failed Deq,Ops(Millions),Throughput(Gbps),Cycles/Buf
//	1,64,32,3000000,3000000,0,0,6.971,3.569,351.481
func readCryptoPerf(out string, tscMHz float64) (map[Size]float64, error) {
	got := map[Size]float64{}
	for line := range strings.Lines(out) {
		f := strings.Split(strings.TrimSpace(line), ",")
		if len(f) != 10 || strings.HasPrefix(f[0], "#") {
			continue
		}
		size, err := strconv.Atoi(f[1])
		cycles, err2 := strconv.ParseFloat(f[9], 64)
		if err := errors.Join(err, err2); err != nil || cycles <= 0 {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		got[Size(size)] = cycles * 1000 / tscMHz
	}
	for _, size := range cryptoSizes {
		if got[size] == 0 {
			return nil, fmt.Errorf("no line for %v bytes in %q", size, lastLines(out, 3))
		}
	}
	return got, nil
}

// cipherAlone is the least time that our AES-GCM takes for n bytes.
func cipherAlone(suite esp.Suite, crypto *esp.Crypto, n int, op string, on time.Duration) (float64, error) {
	step, done, err := cipherStep(suite, crypto, n, op)
	if err != nil {
		return 0, err
	}
	defer done()
	best := 0.0
	for range Runs {
		ns, _, err := repeat(step, on)
		if err != nil {
			return 0, err
		}
		best = least(best, ns)
	}
	return best, nil
}

// cipherStep is one operation, by package gcm or else by the standard library.
func cipherStep(suite esp.Suite, crypto *esp.Crypto, n int, op string) (step func() error, done func(), err error) {
	i := slices.IndexFunc(gcm.Variants(), func(v gcm.Variant) bool { return v.String() == crypto.String() })
	if i < 0 {
		step, err = newReference(suite, n, op)
		return step, func() {}, err
	}
	pool := gcm.Pool{Variant: gcm.Variants()[i]}
	key := keyOf(0, suite.KeyLen)
	c, err := pool.New(key[:suite.KeyLen-gcm.SaltSize], key[suite.KeyLen-gcm.SaltSize:])
	if err != nil {
		return nil, nil, err
	}
	done = func() { c.Close(); _ = pool.Close() }
	text, sealed, aad := make([]byte, n), make([]byte, n+gcm.TagSize), make([]byte, 8)
	c.Seal(sealed, text, 0, aad)
	step = func() error { c.Seal(sealed, text, 0, aad); return nil }
	if op == "open" {
		step = func() error {
			if !c.Open(text, sealed, 0, aad) {
				return errors.New("does not open")
			}
			return nil
		}
	}
	return step, done, nil
}
