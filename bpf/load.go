package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Limits of the program's tables.
const (
	MaxPorts      = 64
	MaxQueues     = 64 // per port
	MaxLocalAddrs = 4096
	MaxPrefixes   = 16384
)

// Budget is a token bucket that every CPU has one of. The zero value takes the
// default.
type Budget struct {
	Rate  uint32 // packets per second and CPU
	Burst uint32 // packets
}

// The defaults keep a flood below what one socket's RX ring of 1,024 frames
// takes up in a batch, and are far above what peers do: a thousand tunnels that
// come back within a second, on one CPU, fit.
var (
	defaultIKE        = Budget{Rate: 4000, Burst: 512}
	defaultUnknownSPI = Budget{Rate: 1000, Burst: 128}
)

// The order of enum budget_kind in tables.h.
const (
	budgetIKE = iota
	budgetUnknownSPI
)

// Options says how the program is loaded.
type Options struct {
	IKE        Budget // IKE datagrams to local addresses
	UnknownSPI Budget // ESP to local addresses with an SPI that we do not hold

	// PinDir, if not empty, is a directory on a bpffs, of this instance alone, that
	// keeps the attachments when the process dies. See the package documentation.
	PinDir string
}

// Steer is a loaded program with its tables. Its methods may be called from any
// goroutine; none of them is for the packet path.
type Steer struct {
	objects  steerObjects
	pinDir   string
	mu       sync.Mutex
	settings steerSettings
	ports    map[int]*attachment // by ifindex
	rows     map[int]bool        // port indices ever attached: their counters are read
	locals   map[netip.Addr]bool
	prefixes map[netip.Prefix]int // how many hold it
	homes    map[netip.Prefix]int // the same
}

// Load loads the program and its empty tables. Nothing is attached.
func Load(opts Options) (*Steer, error) {
	s := &Steer{
		pinDir:   opts.PinDir,
		ports:    map[int]*attachment{},
		rows:     map[int]bool{},
		locals:   map[netip.Addr]bool{},
		prefixes: map[netip.Prefix]int{},
		homes:    map[netip.Prefix]int{},
	}
	if err := loadSteerObjects(&s.objects, nil); err != nil {
		return nil, explainLoad(err)
	}
	s.setBudget(budgetIKE, opts.IKE, defaultIKE)
	s.setBudget(budgetUnknownSPI, opts.UnknownSPI, defaultUnknownSPI)
	if err := s.putSettings(); err != nil {
		return nil, errors.Join(err, s.objects.Close())
	}
	return s, nil
}

// Close detaches every port, also where PinDir would keep it, and frees the tables.
func (s *Steer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for ifindex := range s.ports {
		errs = append(errs, s.detach(ifindex))
	}
	return errors.Join(append(errs, s.objects.Close())...)
}

// SetFailClosed decides what happens to traffic that may need protection while
// no socket serves its queue: dropped, or passed to the kernel (the default).
func (s *Steer) SetFailClosed(closed bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings.FailClosed = 0
	if closed {
		s.settings.FailClosed = 1
	}
	return s.putSettings()
}

func (s *Steer) putSettings() error {
	if err := s.objects.Settings.Put(uint32(0), s.settings); err != nil {
		return fmt.Errorf("write xdp settings: %w", err)
	}
	return nil
}

// setBudget turns packets per second into the virtual schedule of tables.h.
func (s *Steer) setBudget(kind int, b, fallback Budget) {
	if b.Rate == 0 {
		b.Rate = fallback.Rate
	}
	if b.Burst == 0 {
		b.Burst = fallback.Burst
	}
	interval := uint64(time.Second) / uint64(b.Rate)
	s.settings.Budgets[kind].IntervalNs = interval
	s.settings.Budgets[kind].DepthNs = interval * uint64(b.Burst-1)
}

// explainLoad says what to change, where the kernel's refusal has one reason.
func explainLoad(err error) error {
	var verifier *ebpf.VerifierError
	switch {
	case errors.As(err, &verifier):
		return fmt.Errorf("load xdp program: this kernel's verifier refuses it, Spindle needs Linux 6.6 or newer: %w", err)
	case errors.Is(err, unix.EPERM), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("load xdp program: CAP_BPF and CAP_NET_ADMIN are needed, run as root or grant both: %w", err)
	default:
		return fmt.Errorf("load xdp program: %w", err)
	}
}
