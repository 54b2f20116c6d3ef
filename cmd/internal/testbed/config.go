package testbed

import (
	"fmt"
	"net/netip"
	"strings"

	"spindle/tools/netlab"
)

// PSK is the shared secret of every gateway that Tunnel describes.
const PSK = "the demo's shared secret, forty-two bytes!"

// Tunnel is a connection with one child, from one gateway's point of view. Empty
// fields take what the demo uses.
type Tunnel struct {
	Version           int // of IKE; 0: 2
	Conn              string
	Local, Remote     netip.Addr
	RemoteID          netip.Addr // if it is not Remote: the peer is behind a NAT
	RemoteHosts       []string   // in the place of Remote, in order
	AnyLocal          bool       // answers at every address of its own
	LocalTS, RemoteTS []netip.Prefix
	PSK               string
	Auth              []string // the keys local, remote and what they need, instead of a shared key
	IKE, ESP          string   // one proposal keyword each
	Inside            string   // the port; empty: in0
	CPU               int      // of the worker
	Gateway           []string // more keys of the gateway
	Lines             []string // more keys of the connection
	ChildLines        []string // more keys of the child
}

// R6 and R8 are the two gateways of a lab: R6 protects the first host's
// addresses, R8 the second's.
func R6(g *netlab.Gateways) Tunnel {
	return Tunnel{
		Conn: "r8", Local: g.R6Addr, Remote: g.R8Addr, CPU: 0,
		LocalTS: hosts(g.A4, g.A6), RemoteTS: hosts(g.B4, g.B6),
	}
}

// R8 is described at R6.
func R8(g *netlab.Gateways) Tunnel {
	return Tunnel{
		Conn: "r6", Local: g.R8Addr, Remote: g.R6Addr, CPU: 1,
		LocalTS: hosts(g.B4, g.B6), RemoteTS: hosts(g.A4, g.A6),
	}
}

func hosts(addrs ...netip.Addr) (list []netip.Prefix) {
	for _, a := range addrs {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	return list
}

// YAML is the configuration file of the gateway.
func (t Tunnel) YAML() string {
	var b strings.Builder
	fmt.Fprintf(&b, "outside: [out0]\ninside: [%s]\ncpus: [%d]\n", or(t.Inside, "in0"), t.CPU)
	for _, line := range t.Gateway {
		fmt.Fprintln(&b, line)
	}
	return b.String() + "connections:\n" + t.Connection()
}

func (t Tunnel) version() int {
	if t.Version == 0 {
		return 2
	}
	return t.Version
}

// Connection is the entry of the connection alone, to stand behind others.
func (t Tunnel) Connection() string {
	var b strings.Builder
	fmt.Fprintf(&b, `  - name: %s
    version: %d
    ike: [%s]
`, t.Conn, t.version(), or(t.IKE, "aes128gcm16-prfsha256-x25519"))
	auth := t.Auth
	if auth == nil {
		auth = []string{
			fmt.Sprintf(`local:  {%sid: "%v", auth: psk}`, t.localAddress(), t.Local),
			fmt.Sprintf(`remote: {addresses: %s, id: "%v", auth: psk}`, t.remoteHosts(), t.remoteID()),
			fmt.Sprintf("psk: {value: %q}", or(t.PSK, PSK)),
		}
	}
	for _, line := range append(auth, t.Lines...) {
		fmt.Fprintf(&b, "    %s\n", line)
	}
	fmt.Fprintf(&b, `    children:
      - name: lan
        esp: [%s]
`, or(t.ESP, "aes128gcm16"))
	for _, side := range []struct {
		key string
		ts  []netip.Prefix
	}{{"local", t.LocalTS}, {"remote", t.RemoteTS}} {
		if len(side.ts) > 0 { // else it is an inside address
			fmt.Fprintf(&b, "        %s: %s\n", side.key, list(side.ts))
		}
	}
	for _, line := range t.ChildLines {
		fmt.Fprintf(&b, "        %s\n", line)
	}
	return b.String()
}

func (t Tunnel) localAddress() string {
	if t.AnyLocal {
		return ""
	}
	return fmt.Sprintf("address: %q, ", t.Local)
}

func (t Tunnel) remoteHosts() string {
	if len(t.RemoteHosts) == 0 {
		return list([]netip.Addr{t.Remote})
	}
	return list(t.RemoteHosts)
}

func (t Tunnel) remoteID() netip.Addr {
	if t.RemoteID.IsValid() {
		return t.RemoteID
	}
	return t.Remote
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func list[T any](items []T) string {
	words := make([]string, len(items))
	for i, item := range items {
		words[i] = fmt.Sprintf("%q", fmt.Sprint(item))
	}
	return "[" + strings.Join(words, ", ") + "]"
}
