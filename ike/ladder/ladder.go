// Package ladder plays message ladders: two or more engines on a virtual clock,
// joined by a wire in memory, told by the lines of a text file what happens to
// them. What they say to each other, to their data paths and to their operators
// is printed, names not key bytes, and compared with what the file holds.
// Beside the ladders it has the attacks that both versions of IKE must bear:
// spoilt, repeated and foreign messages.
//
// It knows neither version: each describes itself by a Version. Only tests
// import it, and it does no I/O but reading the ladders.
package ladder

import (
	"testing"

	"github.com/cockroachdb/datadriven"

	"spindle/ike/session"
)

// Version is what one version of IKE brings to its ladders.
type Version struct {
	Number                int
	IKE                   string // proposal of a connection that names none
	Established, HalfOpen string // how show calls these states
	Terse                 bool   // status tells no modes and no leases

	// Connection reads what only this version's connections say.
	Connection func(t testing.TB, c *session.Connection, words Words)
	// Command carries out what only this version's ladders say, false for nothing.
	Command func(w *World, g *Gateway, name string, words Words) bool
	// Garbage gives the gateway what no peer would send, in place of d.Data.
	Garbage func(w *World, g *Gateway, what string, d session.Datagram)
	// Trials bound the attacks.
	Trials Trials
}

// Play replays the ladders of a version in testdata. -rewrite writes them anew.
func Play(t *testing.T, v *Version) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := New(t, v)
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			w.T = t
			w.Log.Reset()
			w.command(td)
			return w.Log.String()
		})
		w.Check()
	})
}
