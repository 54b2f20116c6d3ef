// Package api is how an operator's command reaches the running gateway: HTTP
// with JSON bodies on a Unix socket that only its owner may open. GET reads
// tables, POST acts; an error is {"error": "one line"}.
//
// The package knows no engine and no data path: the control process implements
// Backend. It holds no state but the ring of recent events.
package api

import (
	"context"
	"errors"
	"path/filepath"
)

// Backend answers what the operator asks. Methods are called concurrently; an
// error's text reaches the operator as it is.
type Backend interface {
	IKESAs(context.Context) ([]IKESA, error)
	ChildSAs(context.Context) ([]ChildSA, error)
	Connections(context.Context) ([]Connection, error)
	Peers(context.Context) ([]Peer, error)
	Policies(context.Context) ([]Policy, error)
	Workers(context.Context) ([]Worker, error)
	Counters(context.Context) ([]Counter, error)
	Events(context.Context) ([]Event, error)
	Leases(context.Context) ([]Lease, error)
	Translations(context.Context) ([]Translation, error)

	UnknownSPIs(context.Context) ([]UnknownSPI, error)
	Negotiations(context.Context) ([]Tally, error)
	Rekeys(context.Context) ([]Rekeys, error)
	// Why says what is wrong with a connection, or with all those of a peer. It asks
	// the network, so it may take some seconds.
	Why(ctx context.Context, name string) ([]Why, error)
	// Reasons is the verdict of Why for every connection, from what is known: "up"
	// when nothing is wrong.
	Reasons(context.Context) (map[string]string, error)
	// Follow delivers events as they come, until ctx ends or deliver fails.
	Follow(ctx context.Context, f Follow, deliver func(e Event, lost int) error) error
	// Clear takes SAs away that the next packet or the peer may bring back.
	Clear(context.Context, Clear) (Cleared, error)

	// Up and Down return once the work has begun. ErrNotFound refuses a name.
	Up(context.Context, Target) error
	Down(context.Context, Target) error
	// Rekey replaces a child's SAs, or the IKE SA if the child is empty.
	Rekey(context.Context, Target) error
	// Reload returns once the new configuration is in force, or why it is not.
	Reload(context.Context) error
}

// Errors that have a status of their own.
var (
	ErrNotFound    = errors.New("not found")
	ErrUnavailable = errors.New("not available now")
)

// The tables, in the order in which help names them. Each is /v1/NAME.
const (
	IKESAs       = "ike-sas"
	ChildSAs     = "child-sas"
	Connections  = "connections"
	Peers        = "peers"
	Policies     = "policies"
	Workers      = "workers"
	Counters     = "counters"
	Events       = "events"
	Leases       = "leases"
	Translations = "translations"
	UnknownSPIs  = "unknown-spis"
	Rekeying     = "rekeys"
	Outcomes     = "negotiations"
)

// SocketPath is where the API of the gateway with this runtime directory listens.
func SocketPath(runtimeDir string) string { return filepath.Join(runtimeDir, "api.sock") }
