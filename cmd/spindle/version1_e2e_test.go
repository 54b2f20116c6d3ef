package main_test

import (
	"testing"
	"time"

	"spindle/cmd/internal/api"
	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// old is an IKEv1 connection of one family, with what an old peer wants.
func old(ike, esp string, lines ...string) func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
	return func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
		r6.Version, r6.IKE, r6.ESP = 1, ike, esp
		r6.LocalTS, r6.RemoteTS = r6.LocalTS[:1], r6.RemoteTS[:1]
		r6.Lines = append(r6.Lines, lines...)
		r8.Version, r8.IKE, r8.ESP = 1, ike, esp
	}
}

// TestIKEv1WithStrongSwan: main and aggressive mode carry traffic over real XDP
// with strong and with weak algorithms, whoever starts.
func TestIKEv1WithStrongSwan(t *testing.T) {
	for _, c := range []struct {
		name, ike, esp string
		aggressive     bool
		lines          []string
	}{
		{"main", "aes128-sha256-ecp256", "aes128gcm16", false, nil},
		{"weak", "3des-sha1-modp1024", "3des-sha1", false, []string{"allow_weak: [3des, sha1, modp1024]"}},
		{"aggressive", "aes256-sha384-modp2048", "aes256-sha256-modp2048", true, []string{"mode: aggressive", "allow_weak: [aggressive-psk]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, "v1-"+c.name, netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
				old(c.ike, c.esp, c.lines...)(r6, r8)
				r8.Aggressive = c.aggressive
				r8.ExtraLines = append(r8.ExtraLines, "i_dont_care_about_security_and_use_aggressive_mode_psk = yes")
			})
			b.up()
			o := paced
			o.Duration = time.Second
			b.carry(4, o)
			check(t, b.swan.Terminate(t.Context()))
			b.down()
			_, err := b.swan.Initiate(t.Context())
			check(t, err)
			_, err = b.r6.AwaitChild(t.Context(), patience)
			check(t, err)
			b.carry(4, o)
			b.clean()
		})
	}
}

// down waits until the gateway holds no child SA.
func (b *bed) down() {
	b.t.Helper()
	check(b.t, b.r6.Await(b.t.Context(), patience, "let go of its child SAs", func() bool {
		rows, err := testbed.Table[api.ChildSA](b.t.Context(), b.r6, api.ChildSAs)
		return err == nil && len(rows) == 0
	}))
}

// TestIKEv1RekeyUnderTraffic: both phases are replaced and not one packet is lost.
func TestIKEv1RekeyUnderTraffic(t *testing.T) {
	t.Run("child", func(t *testing.T) {
		b := newBed(t, "v1-rekey", netlab.Options{}).strongSwan(func(r6 *testbed.Tunnel, r8 *netlab.StrongSwanConfig) {
			old("aes128-sha256-ecp256", "aes128gcm16")(r6, r8)
			r6.ChildLines = short
		})
		first := b.up()
		b.carry(4, paced)
		b.replaced(first)
		b.clean()
	})
	t.Run("phase 1", func(t *testing.T) {
		b := newBed(t, "v1-reike", netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
			for _, g := range []*testbed.Tunnel{r6, r8} {
				g.Version, g.IKE = 1, "aes128-sha256-ecp256"
				g.LocalTS, g.RemoteTS = g.LocalTS[:1], g.RemoteTS[:1]
			}
			r6.Lines = []string{"lifetime: 2s"}
		})
		b.outlives()
	})
}
