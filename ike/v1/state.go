package v1

import (
	"fmt"
	"slices"
)

// State is where an ISAKMP SA stands.
type State uint8

const (
	Idle           State = iota // made, nothing sent or accepted
	Opening                     // initiator: phase 1 under way
	HalfOpen                    // responder: phase 1 under way, the peer proved nothing
	Authenticating              // phase 1 is over, the user or its address is not known yet
	Established                 // both ends proved who they are
	Replaced                    // a newer one with the same peer took its children over
	Detached                    // the peer deleted it; its children wait for the next one
	Dead                        // nothing more comes from it
)

func (s State) String() string {
	return [...]string{"idle", "opening", "half-open", "authenticating", "established", "replaced", "detached", "dead"}[s]
}

// next is every move there is. Whatever is not in it is a mistake of ours.
func (s State) next() []State {
	switch s {
	case Idle:
		return []State{Opening, HalfOpen, Dead}
	case Opening, HalfOpen:
		return []State{Authenticating, Established, Dead}
	case Authenticating:
		return []State{Established, Dead}
	case Established:
		return []State{Replaced, Detached, Dead}
	case Replaced: // its successor went first
		return []State{Established, Dead}
	case Detached:
		return []State{Dead}
	}
	return nil
}

// to moves from one state to another, or says that there is no such move.
func (s State) to(next State) (State, error) {
	if !slices.Contains(s.next(), next) {
		return s, fmt.Errorf("illegal move from %s to %s", s, next)
	}
	return next, nil
}
