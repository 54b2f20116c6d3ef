package session

import (
	"log/slog"
	"net/netip"
	"time"

	"spindle/sadb"
)

// Output is one thing the engine wants done. The order of the slice that Step
// returns is the contract: each output is complete before the next one starts,
// so an inbound SA that stands before a Send is installed when the peer hears of it.
type Output interface{ output() }

type (
	// Send transmits an IKE message; the non-ESP marker is added below, from Local's port.
	Send struct {
		Local, Remote netip.AddrPort
		Data          []byte
	}
	// AddSA installs one direction of a child SA.
	AddSA struct{ SA sadb.SA }
	// UpdateSA moves the peer's endpoint of an SA pair.
	UpdateSA struct {
		Pair          sadb.SPI
		Local, Remote netip.AddrPort
		Encap         bool
	}
	// DeleteSA removes one direction of a child SA.
	DeleteSA struct {
		Direction sadb.Direction
		Pair      sadb.SPI
	}
	// Policy adds an SPD entry, or removes the one with Policy.ID.
	Policy struct {
		Remove bool
		Policy sadb.Policy
	}
	// Keepalive is to be sent to keep a NAT's mapping alive, unless one of the SA
	// pairs has sent a packet within Quiet (RFC 3948 §4).
	Keepalive struct {
		Local, Remote netip.AddrPort
		Pairs         []sadb.SPI
		Quiet         time.Duration
	}
	// Fetch gets a CRL or OCSP response by HTTP. Whatever comes of it, a Fetched
	// with the same URL is to follow.
	Fetch struct{ URL string }
	// Address puts an inside address that a peer assigned to us on this host, or
	// takes it away.
	Address struct {
		Remove bool
		Addr   netip.Addr
	}
	// Audit is one line for the operator. What a peer does wrong ends here.
	Audit struct {
		Level slog.Level
		Event string // short and constant: "child SA established"
		Attrs []slog.Attr
	}
)

func (Send) output()      {}
func (AddSA) output()     {}
func (UpdateSA) output()  {}
func (DeleteSA) output()  {}
func (Policy) output()    {}
func (Keepalive) output() {}
func (Address) output()   {}
func (Audit) output()     {}
func (Fetch) output()     {}
