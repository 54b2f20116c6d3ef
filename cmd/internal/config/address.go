package config

import (
	"net/netip"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"spindle/ike/session"
	"spindle/sadb"
)

// address reads an IP address that a packet can come from or go to.
func (d *decoder) address(n ast.Node, what string) (netip.Addr, bool) {
	s, ok := d.scalar(n, what)
	if !ok {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil && strings.Contains(s, "/"):
		d.refuse(n, "%s: %q is a prefix: write one address", what, s)
	case err != nil && fqdn(s) && !numeric(s):
		d.refuse(n, "%s: %q: a host name is possible only among remote addresses: write the IP address", what, s)
	case err != nil:
		d.refuse(n, "%s: %q is not an IP address", what, s)
	case a.Zone() != "":
		d.refuse(n, "%s: %q: a zone is not supported: write a global address", what, s)
	case a.Is4In6():
		d.refuse(n, "%s: %q: did you mean %s?", what, s, a.Unmap())
	case a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		d.refuse(n, "%s: %s cannot be one end of a tunnel", what, s)
	default:
		return a, true
	}
	return netip.Addr{}, false
}

// selector reads a traffic selector: a prefix without host bits, one address or
// a range, and a protocol with ports in brackets, if not all traffic is meant.
func (d *decoder) selector(n ast.Node, what string) (sadb.Selector, bool) {
	text, ok := d.scalar(n, what)
	if !ok {
		return sadb.Selector{}, false
	}
	s, err := sadb.ParseSelector(text)
	if err != nil {
		d.refuse(n, "%s: %v", what, err)
		return sadb.Selector{}, false
	}
	return s, true
}

// identity reads an IKE identity (RFC 7296 §3.5); its form tells its type.
func (d *decoder) identity(n ast.Node, what string) session.Identity {
	s, ok := d.scalar(n, what)
	if !ok {
		return session.Identity{}
	}
	if len(s) > 255 {
		d.refuse(n, "%s is longer than 255 bytes", what)
		return session.Identity{}
	}
	id, ok := parseIdentity(s)
	if !ok {
		d.refuse(n, "%s: %q is no identity: write an IP address, a host name, user@host, a distinguished name like \"C=CH, CN=gw\", or keyid:TEXT", what, s)
	}
	return id
}

func parseIdentity(s string) (session.Identity, bool) {
	if strings.Contains(s, "=") && !strings.HasPrefix(s, "keyid:") {
		id, err := session.ParseDN(s)
		return id, err == nil
	}
	if key, ok := strings.CutPrefix(s, "keyid:"); ok {
		return session.Identity{Type: session.IDKeyID, Data: []byte(key)}, key != ""
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return addressIdentity(a.WithZone("")), a.Zone() == ""
	}
	if user, host, ok := strings.Cut(s, "@"); ok && user != "" {
		return session.Identity{Type: session.IDRFC822, Data: []byte(s)}, fqdn(host) && !strings.ContainsAny(user, " \t\r\n")
	}
	host := strings.TrimPrefix(s, "@") // strongSwan's way to say: a name, do not resolve it
	return session.Identity{Type: session.IDFQDN, Data: []byte(host)}, fqdn(host) && !numeric(host)
}

func addressIdentity(a netip.Addr) session.Identity {
	if a.Is4() {
		return session.Identity{Type: session.IDIPv4, Data: a.AsSlice()}
	}
	return session.Identity{Type: session.IDIPv6, Data: a.AsSlice()}
}

// fqdn accepts names of letters, digits, hyphens and underscores between dots.
func fqdn(s string) bool {
	for _, label := range strings.Split(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, r := range label {
			if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' {
				return false
			}
		}
	}
	return true
}

// numeric tells a mistyped address from a name.
func numeric(s string) bool { return strings.Trim(s, "0123456789.") == "" }
