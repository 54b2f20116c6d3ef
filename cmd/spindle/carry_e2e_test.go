package main_test

import (
	"strconv"
	"testing"

	"spindle/cmd/internal/testbed"
	"spindle/tools/netlab"
)

// tenThousand packets each way, as fast as a window of 64 lets.
var tenThousand = netlab.BulkOptions{Packets: 10_000}

func TestSpindleToSpindle(t *testing.T) {
	for _, outer := range []int{4, 6} {
		t.Run("outer IPv"+strconv.Itoa(outer), func(t *testing.T) {
			b := newBed(t, "ss"+strconv.Itoa(outer), netlab.Options{IPv6Outer: outer == 6}).spindles(nil)
			if child := b.up(); child.Encap {
				t.Errorf("child SA is UDP-encapsulated, though there is no NAT: %+v", child)
			}
			b.carry(4, tenThousand)
			b.carry(6, tenThousand)
			b.native(true)
			b.fast()
			b.clean()
		})
	}
}

func TestSpindleBehindNAT(t *testing.T) {
	b := newBed(t, "nat", netlab.Options{NAT: true}).spindles(func(_, r8 *testbed.Tunnel) {
		r8.Remote, r8.RemoteID = netlab.NATAddr, r8.Remote
	})
	child := b.up()
	if !child.Encap {
		t.Errorf("child SA is not UDP-encapsulated behind a NAT: %+v", child)
	}
	b.carry(4, tenThousand)
	b.carry(6, tenThousand)
	b.native(false)
	b.fast()
	b.clean()
}

func TestForcedEncapsulation(t *testing.T) {
	for _, who := range []string{"initiator", "responder"} {
		t.Run(who, func(t *testing.T) {
			b := newBed(t, "force-"+who, netlab.Options{}).spindles(func(r6, r8 *testbed.Tunnel) {
				forced := r6
				if who == "responder" {
					forced = r8
				}
				forced.Lines = append(forced.Lines, "encap: force")
			})
			if child := b.up(); !child.Encap {
				t.Errorf("child SA is not UDP-encapsulated: %+v", child)
			}
			b.carry(4, netlab.BulkOptions{Packets: 1000})
			b.native(false)
			b.clean()
		})
	}
}

func TestSpindleToStrongSwan(t *testing.T) {
	for _, who := range []string{"initiator", "responder"} {
		t.Run("as "+who, func(t *testing.T) {
			b := newBed(t, "swan-"+who, netlab.Options{}).strongSwan(nil)
			if who == "responder" {
				_, err := b.swan.Initiate(t.Context())
				check(t, err)
			}
			b.up()
			sas, err := b.swan.ListSAs(t.Context())
			check(t, err)
			if len(sas) != 1 || len(sas[0].Children) != 1 || sas[0].Initiator != (who == "responder") {
				t.Errorf("strongSwan holds %+v", sas)
			}
			b.carry(4, tenThousand)
			b.native(false) // its ESP knows no other way
			b.clean()
		})
	}
}
