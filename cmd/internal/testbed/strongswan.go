package testbed

import (
	"context"

	"spindle/tools/netlab"
)

// StrongSwan describes strongSwan as R8, matching R6 of a lab. Its own ESP
// carries one family here: that of the first hosts.
func StrongSwan(g *netlab.Gateways) netlab.StrongSwanConfig {
	return netlab.StrongSwanConfig{
		Local: g.R8Addr, Remote: g.R6Addr, PSK: PSK,
		IKE: "aes128gcm16-prfsha256-x25519", ESP: "aes128gcm16",
		LocalTS: hosts(g.B4), RemoteTS: hosts(g.A4),
	}
}

// StrongSwanR8 starts it and leaves it to the lab.
func StrongSwanR8(ctx context.Context, g *netlab.Gateways) error {
	_, err := netlab.StartStrongSwan(ctx, g.R8, StrongSwan(g))
	return err
}
