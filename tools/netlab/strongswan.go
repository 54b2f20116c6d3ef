package netlab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Names in the configuration that [StartStrongSwan] writes.
const (
	StrongSwanConn  = "t"
	StrongSwanChild = "c"
)

const strongSwanStart = 10 * time.Second

// StrongSwanConfig is one connection with one child. Algorithms are strongSwan's
// proposal keywords; what has no field of its own goes in raw lines.
type StrongSwanConfig struct {
	Local, Remote     netip.Addr
	LocalID, RemoteID string // empty: the address
	PSK               string
	Version           int    // 0: 2
	Aggressive        bool   // IKEv1
	IKE, ESP          string // empty: AES-GCM-128 (in IKEv1 AES-CBC), SHA-256, P-256
	LocalTS, RemoteTS []netip.Prefix
	DPDDelay          time.Duration // 0: off
	Encap             bool          // claim a NAT, so that ESP goes in UDP
	Start             string        // start_action: none, trap or start; empty: none

	LocalAuth, RemoteAuth []string          // lines of the sections local and remote instead of a shared key
	Secrets               []string          // lines of the section secrets, beside the PSK
	Files                 map[string][]byte // certificates and keys, such as x509/r8.pem, private/r8.pem, x509ca/ca.pem

	ConnLines  []string // of the connection, e.g. "mobike = no"
	ChildLines []string // of the child, e.g. "rekey_time = 10s"
	ExtraLines []string // of the daemon, e.g. "retransmit_tries = 2"
	Sections   []string // beside the connections, e.g. pools
	LogLevel   int      // of charon's log, 0 is 1
}

// StrongSwan is a running charon-systemd. Its ESP is userland (kernel-libipsec):
// on a TUN ipsec0 of MTU 1400, always in UDP on port 4500.
type StrongSwan struct {
	ns      *NS
	dir     string
	process *Process
	lent    []netip.Addr
}

// StartStrongSwan writes the configuration, starts the daemon in the namespace,
// and loads it. The lab stops it at the latest.
func StartStrongSwan(ctx context.Context, ns *NS, c StrongSwanConfig) (*StrongSwan, error) {
	dir := filepath.Join(ns.lab.Dir(), "strongswan-"+ns.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("strongswan in %s: %w", ns.Name, err)
	}
	s := &StrongSwan{ns: ns, dir: dir}
	for name, text := range map[string]string{"strongswan.conf": c.daemon(dir), "swanctl.conf": c.connection()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	for name, data := range c.Files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.lendAddresses(c.LocalTS); err != nil {
		return nil, fmt.Errorf("strongswan in %s: %w", ns.Name, err)
	}
	var err error
	s.process, err = ns.Start("env", "STRONGSWAN_CONF="+filepath.Join(dir, "strongswan.conf"), "charon-systemd")
	if err != nil {
		return nil, err
	}
	if err = s.awaitVICI(ctx); err == nil {
		_, err = s.swanctl(ctx, "--load-all", "--file", filepath.Join(dir, "swanctl.conf"))
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("start strongswan in %s: %w\n%s", ns.Name, err, s.Log())
	}
	return s, nil
}

// daemon leaves out the plugins that would touch what is not theirs.
func (c StrongSwanConfig) daemon(dir string) string {
	level := max(c.LogLevel, 1)
	return fmt.Sprintf(`charon-systemd {
  load_modular = yes
  plugins {
    include /etc/strongswan.d/charon/*.conf
    kernel-libipsec {
      load = yes
    }
    vici {
      load = yes
      socket = unix://%[1]s/vici
    }
    bypass-lan {
      load = no
    }
    connmark {
      load = no
    }
    stroke {
      load = no
    }
    forecast {
      load = no
    }
    resolve {
      load = no
    }
    farp {
      load = no
    }
    dhcp {
      load = no
    }
  }
  journal {
    default = -1
  }
  filelog {
    charon {
      path = %[1]s/log
      default = %[2]d
      flush_line = yes
    }
  }
  %[3]s
}
`, dir, level, strings.Join(c.ExtraLines, "\n  "))
}

func (c StrongSwanConfig) connection() string {
	var b strings.Builder
	line := func(key string, value any) { fmt.Fprintf(&b, "%s = %v\n", key, value) }
	fmt.Fprintf(&b, "connections {\n%s {\n", StrongSwanConn)
	line("version", orElse(c.Version, 2))
	line("local_addrs", c.Local)
	line("remote_addrs", c.Remote)
	line("proposals", orElse(c.IKE, c.defaultIKE()))
	line("aggressive", yesNo(c.Aggressive))
	line("encap", yesNo(c.Encap))
	if c.DPDDelay > 0 {
		line("dpd_delay", fmt.Sprintf("%ds", max(1, int(c.DPDDelay.Seconds()))))
	}
	b.WriteString(strings.Join(c.ConnLines, "\n") + "\n")
	localID, remoteID := orElse(c.LocalID, c.Local.String()), orElse(c.RemoteID, c.Remote.String())
	local, remote := c.LocalAuth, c.RemoteAuth
	if local == nil {
		local = []string{"auth = psk", "id = " + localID}
	}
	if remote == nil {
		remote = []string{"auth = psk", "id = " + remoteID}
	}
	fmt.Fprintf(&b, "local {\n%s\n}\nremote {\n%s\n}\n", strings.Join(local, "\n"), strings.Join(remote, "\n"))
	fmt.Fprintf(&b, "children {\n%s {\n", StrongSwanChild)
	for key, ts := range map[string][]netip.Prefix{"local_ts": c.LocalTS, "remote_ts": c.RemoteTS} {
		if len(ts) > 0 { // else it is the address of the host, or a virtual one
			line(key, join(ts))
		}
	}
	line("esp_proposals", orElse(c.ESP, "aes128gcm16"))
	line("start_action", orElse(c.Start, "none"))
	b.WriteString(strings.Join(c.ChildLines, "\n") + "\n")
	fmt.Fprintf(&b, "}\n}\n}\n}\nsecrets {\nike-1 {\nsecret = %q\n}\n%s\n}\n", c.PSK, strings.Join(c.Secrets, "\n"))
	b.WriteString(strings.Join(c.Sections, "\n") + "\n")
	return b.String()
}

// defaultIKE has no AEAD for IKEv1, which cannot negotiate one.
func (c StrongSwanConfig) defaultIKE() string {
	if c.Version == 1 {
		return "aes128-sha256-ecp256"
	}
	return "aes128gcm16-prfsha256-ecp256"
}

func orElse[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func join(ps []netip.Prefix) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.String())
	}
	return strings.Join(s, ",")
}

// lendAddresses gives the namespace an address within each local selector where
// it has none: kernel-libipsec installs no policy otherwise.
func (s *StrongSwan) lendAddresses(selectors []netip.Prefix) error {
	for _, p := range selectors {
		has, err := s.ns.hasAddress(p)
		if err != nil {
			return err
		}
		if has {
			continue
		}
		if err := s.ns.lend(p.Addr()); err != nil {
			return fmt.Errorf("address within %s: %w", p, err)
		}
		s.lent = append(s.lent, p.Addr())
	}
	return nil
}

func (s *StrongSwan) awaitVICI(ctx context.Context) error {
	deadline := time.Now().Add(strongSwanStart)
	for ; time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-s.process.Done():
			return fmt.Errorf("charon-systemd ended: %s", s.process.Output())
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if _, err := os.Stat(filepath.Join(s.dir, "vici")); err == nil {
			if _, err := s.swanctl(ctx, "--stats"); err == nil {
				return nil
			}
		}
	}
	return errors.New("charon-systemd does not open its control socket")
}

func (s *StrongSwan) swanctl(ctx context.Context, args ...string) (string, error) {
	uri := "unix://" + filepath.Join(s.dir, "vici")
	return s.ns.Run(ctx, append([]string{"swanctl", args[0], "--uri", uri}, args[1:]...)...)
}

// Initiate brings up the child and, before it, the IKE SA. What it returns is
// strongSwan's own account of it.
func (s *StrongSwan) Initiate(ctx context.Context) (string, error) {
	return s.swanctl(ctx, "--initiate", "--child", StrongSwanChild, "--timeout", "20")
}

// RekeyChild replaces the child SA; RekeyIKE the IKE SA. Both return before it is done.
func (s *StrongSwan) RekeyChild(ctx context.Context) error {
	_, err := s.swanctl(ctx, "--rekey", "--child", StrongSwanChild)
	return err
}

// RekeyIKE is described at RekeyChild.
func (s *StrongSwan) RekeyIKE(ctx context.Context) error {
	_, err := s.swanctl(ctx, "--rekey", "--ike", StrongSwanConn)
	return err
}

// Terminate deletes the IKE SA and its children, with Deletes to the peer.
func (s *StrongSwan) Terminate(ctx context.Context) error {
	_, err := s.swanctl(ctx, "--terminate", "--ike", StrongSwanConn, "--timeout", "10")
	return err
}

// Swanctl runs any other swanctl command.
func (s *StrongSwan) Swanctl(ctx context.Context, args ...string) (string, error) {
	if len(args) == 0 {
		return "", errors.New("swanctl: no command")
	}
	return s.swanctl(ctx, args...)
}

// Log is charon's log so far.
func (s *StrongSwan) Log() string {
	raw, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(raw) + s.process.Output()
}

// PID is of the daemon, for whoever wants to kill it.
func (s *StrongSwan) PID() int { return s.process.PID }

// Close stops the daemon; it deletes its SAs first. The files go with it, so
// that another may start in the same namespace.
func (s *StrongSwan) Close() {
	s.process.Stop()
	for _, addr := range s.lent {
		_ = s.ns.unlend(addr)
	}
	_ = os.RemoveAll(s.dir)
}
