package bench

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"spindle/datapath/esp"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// CryptoOptions say what to run.
type CryptoOptions struct {
	Suites []string // empty: all
	Sizes  []Size   // of the inner packet, bytes
	Ops    []string // seal, open; empty: both
	Time   time.Duration
	CPU    int
	Commit string
	Crypto *esp.Crypto
}

// CryptoRow is one suite, size and operation.
type CryptoRow struct {
	Suite string `json:"suite"`
	Size  Size   `json:"size"`
	Op    string `json:"op"` // seal, open
	Impl  string `json:"impl"`

	P50    float64 `json:"ns_per_packet_p50"` // of esp: crypto, ESP header, trailer, outer header, counters
	Min    float64 `json:"ns_per_packet_min"`
	Max    float64 `json:"ns_per_packet_max"`
	Cycles float64 `json:"tsc_cycles_per_packet"`
	Gbit   float64 `json:"gbit_per_s_inner"`

	// The same bytes by the standard library alone, from the same run. What esp
	// costs on top is the difference; 0 where there is nothing to compare with.
	CipherP50 float64 `json:"cipher_ns_per_packet_p50"`
	CipherMin float64 `json:"cipher_ns_per_packet_min"`

	Allocs  float64 `json:"allocs_per_packet"`
	Machine Machine `json:"machine"`
}

// Crypto runs every suite, size and operation and hands each result to done.
func Crypto(ctx context.Context, o CryptoOptions, done func(CryptoRow) error) error {
	machine := Fingerprint(o.Commit)
	unpin, err := pin(o.CPU)
	if err != nil {
		return err
	}
	defer unpin()
	if len(o.Suites) == 0 {
		for _, s := range esp.Suites() {
			o.Suites = append(o.Suites, s.Keyword)
		}
	}
	if len(o.Ops) == 0 {
		o.Ops = []string{"seal", "open"}
	}
	for _, keyword := range o.Suites {
		suite, ok := esp.Find(keyword)
		if !ok {
			return unknownSuite(keyword)
		}
		for _, size := range o.Sizes {
			for _, op := range o.Ops {
				if err := ctx.Err(); err != nil {
					return err
				}
				row := CryptoRow{Suite: keyword, Size: size, Op: op, Impl: implementation(suite, o.Crypto), Machine: machine}
				if err := row.measure(suite, o.Crypto, o.Time); err != nil {
					return fmt.Errorf("%s, size %v, %s: %w", keyword, size, op, err)
				}
				if err := done(row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *CryptoRow) measure(suite esp.Suite, crypto *esp.Crypto, on time.Duration) error {
	ours, err := newCryptoPair(suite, crypto, int(r.Size))
	if err != nil {
		return err
	}
	defer ours.wipe()
	step := ours.seal
	if r.Op == "open" {
		step = ours.open
	}
	reference, err := newReference(suite, int(r.Size), r.Op)
	if err != nil {
		return err
	}
	var times, cipher []float64
	var before, after runtime.MemStats
	var packets, mallocs uint64
	for range Runs { // by turns, so that a busy moment meets both
		runtime.ReadMemStats(&before)
		ns, n, err := repeat(step, on/Runs)
		if err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		times, packets, mallocs = append(times, ns), packets+n, mallocs+after.Mallocs-before.Mallocs
		if reference == nil {
			continue
		}
		if ns, _, err = repeat(reference, on/Runs); err != nil {
			return err
		}
		cipher = append(cipher, ns)
	}
	slices.Sort(times)
	r.Min, r.P50, r.Max = times[0], median(times), times[len(times)-1]
	r.Cycles, r.Gbit = r.Machine.cycles(r.P50), 8*float64(r.Size)/r.P50
	r.Allocs = float64(mallocs) / float64(packets)
	if len(cipher) > 0 {
		r.CipherP50, r.CipherMin = median(cipher), slices.Min(cipher)
	}
	return nil
}

// repeat runs step for so much CPU time and returns nanoseconds for each.
func repeat(step func() error, on time.Duration) (ns float64, n uint64, err error) {
	const block = 64
	for range block { // warms up
		if err := step(); err != nil {
			return 0, 0, err
		}
	}
	began := threadTime()
	for {
		for range block {
			if err := step(); err != nil {
				return 0, 0, err
			}
		}
		n += block
		if took := threadTime() - began; took >= on {
			return float64(took.Nanoseconds()) / float64(n), n, nil
		}
	}
}

// cryptoPair is both ends of an SA, and one packet.
type cryptoPair struct {
	out           *esp.Outbound
	in            *esp.Inbound
	inner, sealed []byte // sealed is the outer packet
	outer         packet.Header
	dst           []byte
}

func newCryptoPair(suite esp.Suite, crypto *esp.Crypto, n int) (*cryptoPair, error) {
	theirs, ours := peerSA(0, sadb.Outbound, suite), sa(0, sadb.Outbound, suite)
	theirs.ReplayWindow = 0 // one packet is opened again and again
	p := &cryptoPair{inner: make([]byte, n), dst: make([]byte, frameLen)}
	var err error
	if p.in, err = crypto.NewInbound(&theirs); err != nil {
		return nil, err
	}
	if p.out, err = crypto.NewOutbound(&ours); err != nil {
		return nil, err
	}
	putInner(p.inner, hostAddr, siteAddr(0), n)
	if err := p.seal(); err != nil {
		return nil, err
	}
	length, _ := packet.Length(p.dst)
	p.sealed = append(p.sealed, p.dst[:length]...)
	if v := p.outer.ParseIP(p.sealed); v != packet.Pass {
		return nil, fmt.Errorf("what was sealed: %v", v)
	}
	return p, p.open()
}

func (p *cryptoPair) wipe() {
	p.out.Wipe()
	p.in.Wipe()
}

func (p *cryptoPair) seal() error {
	if _, v := p.out.Seal(p.dst, p.inner, 1); v != packet.Pass {
		return fmt.Errorf("seal: %v", v)
	}
	return nil
}

func (p *cryptoPair) open() error {
	if n, v := p.in.Open(p.dst, p.sealed, &p.outer, p.sealed[p.outer.Payload:], 1); v != packet.Pass || n != len(p.inner) {
		return fmt.Errorf("open: %v, %d bytes", v, n)
	}
	return nil
}
