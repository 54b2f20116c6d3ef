package main_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// TestIKEv1BehindNAT: N5, RFC 3947: a router that translates hides R6, which floats
// to port 4500; with strongSwan and with a gateway of ours behind it, whose child SA
// follows when the router forgets it.
func TestIKEv1BehindNAT(t *testing.T) {
	t.Run("strongSwan", func(t *testing.T) {
		b := newBed(t, "v1nat", netlab.Options{NAT: true}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
			old(v1IKE, v1ESP)(r6, r8)
			r8.Remote, r8.RemoteID = netlab.NATAddr, r6.Local.String()
		})
		b.up()
		b.ping(b.B, b.B4, b.A4, 5)
		b.native(false)
		b.nat("local")
		check(t, b.r6.Down(t.Context(), api.Target{Conn: "r8"}))
		b.down()
		b.up()
		b.ping(b.A, b.A4, b.B4, 5)
	})
	t.Run("ours", func(t *testing.T) {
		b := newBed(t, "v1natours", netlab.Options{NAT: true}).spindles(func(r6, r8 *testbed.Tunnel) {
			for _, g := range []*testbed.Tunnel{r6, r8} {
				g.Version, g.IKE = 1, v1IKE
				g.LocalTS, g.RemoteTS = g.LocalTS[:1], g.RemoteTS[:1]
			}
			behindNAT("nat_keepalive: 0s")(r6, r8)
		})
		b.up()
		b.native(false)
		b.nat("local")
		o := paced
		o.Duration = time.Second
		b.carry(4, o)
		remap(t, b.Wire)
		check(t, b.r8.Await(t.Context(), patience, "follow its peer's ESP", func() bool {
			_, _ = b.A.Run(t.Context(), "ping", "-c", "1", "-W", "1", b.B4.String()) // the answer to the first one is lost
			return strings.Contains(b.r8.Log(), "moved behind its NAT")
		}))
		b.ping(b.B, b.B4, b.A4, 5)
	})
}

// TestIKEv1TransportBehindNAT: transport mode between the gateways themselves, of
// which R6 knows its own address and R8 that of the NAT (NAT-OA, RFC 3947 §5.2).
func TestIKEv1TransportBehindNAT(t *testing.T) {
	b := newBed(t, "v1trans", netlab.Options{NAT: true}).spindles(func(r6, r8 *testbed.Tunnel) {
		host := func(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, 32)} }
		r6.LocalTS, r6.RemoteTS = host(r6.Local), host(r6.Remote)
		r8.LocalTS, r8.RemoteTS = host(r8.Local), host(netlab.NATAddr)
		for _, g := range []*testbed.Tunnel{r6, r8} {
			g.Version, g.IKE, g.ChildLines = 1, v1IKE, []string{"mode: transport"}
		}
		behindNAT("nat_keepalive: 0s")(r6, r8)
	})
	b.ping(b.R6, b.R6Addr, b.R8Addr, 5)
	b.native(false)
	if child := b.child(b.r8); child.Mode != "transport" || !slices.Equal(child.RemoteTS, []string{netlab.NATAddr.String() + "/32"}) || child.PacketsIn < 5 {
		t.Errorf("R8 has %+v", child)
	}
}

// nat wants R6 to know who is behind a NAT.
func (b *bed) nat(want string) {
	b.t.Helper()
	sas, err := testbed.Table[api.IKESA](b.t.Context(), b.r6, api.IKESAs)
	check(b.t, err)
	for _, sa := range sas {
		if strings.HasSuffix(sa.Remote, ":4500") && (sa.NAT == want || sa.NAT == "both") {
			return
		}
	}
	b.t.Errorf("IKE SAs %+v, want one on port 4500 with NAT %s", sas, want)
}

// TestIKEv1WeakRefused: O3: an old peer that offers only what is weak gets no tunnel
// from a connection that does not allow it, and one line says what both would take.
func TestIKEv1WeakRefused(t *testing.T) {
	b := newBed(t, "v1weak", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		old(v1IKE, v1ESP)(r6, r8)
		r8.IKE, r8.ESP = "3des-sha1-modp1024", "3des-sha1"
	})
	mark := len(b.r6.Log())
	if out, err := b.swan.Initiate(t.Context()); err == nil {
		t.Errorf("strongSwan was let in:\n%s", out)
	}
	b.refusal(mark, "3des-sha1-modp1024 by psk", "aes128-sha256-ecp256", "(configuration keys: ike, auth)")
}

// TestIKEv1OtherVersion: a peer that speaks the other version of IKE is told so at
// once, and the operator which key to change.
func TestIKEv1OtherVersion(t *testing.T) {
	for speaks, wants := range map[int]int{1: 2, 2: 1} {
		t.Run(fmt.Sprintf("IKEv%d", speaks), func(t *testing.T) {
			b := newBed(t, fmt.Sprintf("speaks%d", speaks), netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				r6.Version, r8.Version = wants, speaks
				r6.IKE, r8.IKE = v1IKE, v1IKE
				r6.LocalTS, r6.RemoteTS = r6.LocalTS[:1], r6.RemoteTS[:1]
			})
			mark := len(b.r6.Log())
			began := time.Now()
			if out, err := b.swan.Initiate(t.Context()); err == nil {
				t.Errorf("strongSwan was let in:\n%s", out)
			}
			if took := time.Since(began); took > patience {
				t.Errorf("strongSwan was left waiting for %v", took)
			}
			b.refusal(mark, fmt.Sprintf("peer speaks IKEv%d, connection r8 is for IKEv%d only (configuration key: version)", speaks, wants))
		})
	}
}

// TestIKEv1RekeyWithStrongSwan: under traffic it replaces the child SA and then
// phase 1, and so do we; not one packet is lost.
func TestIKEv1RekeyWithStrongSwan(t *testing.T) {
	b := newBed(t, "v1swan", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		old(v1IKE, v1ESP)(r6, r8)
		r6.Lines = append(r6.Lines, "lifetime: 6s")
	})
	first := b.up()
	before := b.cookies()
	asked := make(chan error, 2)
	ctx := context.WithoutCancel(t.Context())
	time.AfterFunc(time.Second, func() { asked <- b.swan.RekeyChild(ctx) })
	time.AfterFunc(2*time.Second, func() { asked <- b.swan.RekeyIKE(ctx) })
	o := paced
	o.Duration = 9 * time.Second
	b.carry(4, o)
	check(t, <-asked)
	check(t, <-asked)
	b.replaced(first)
	if n := strings.Count(b.r6.Log(), "ISAKMP SA replaced"); n < 2 || b.cookies() == before {
		t.Errorf("phase 1 was replaced %d times, want by it and by us", n)
	}
	b.clean()
}

// cookies name R6's newest ISAKMP SA.
func (b *bed) cookies() string {
	b.t.Helper()
	sas, err := testbed.Table[api.IKESA](b.t.Context(), b.r6, api.IKESAs)
	check(b.t, err)
	if len(sas) == 0 {
		b.t.Fatal("R6 has no IKE SA")
	}
	return sas[len(sas)-1].SPIi
}
