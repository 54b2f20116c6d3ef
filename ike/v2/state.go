package v2

import (
	"fmt"
	"slices"
)

// State is where an IKE SA stands.
type State uint8

const (
	Idle         State = iota // made, nothing sent or accepted
	InitSent                  // initiator: IKE_SA_INIT request out
	InitAnswered              // responder: IKE_SA_INIT response out, half open
	AuthSent                  // initiator: IKE_AUTH request out
	Established               // both ends proved who they are
	Replaced                  // rekeyed: its children moved on, it waits for its Delete
	Deleting                  // our Delete is out
	Closed                    // refused or deleted: only repeats its last answer, for a moment
	Dead                      // nothing more comes from it
)

func (s State) String() string {
	return [...]string{"idle", "init-sent", "half-open", "auth-sent", "established",
		"replaced", "deleting", "closed", "dead"}[s]
}

// next is every move there is. Whatever is not in it is a mistake of ours.
func (s State) next() []State {
	switch s {
	case Idle:
		return []State{InitSent, InitAnswered, Established, Dead}
	case InitSent:
		return []State{AuthSent, Dead}
	case InitAnswered:
		return []State{Established, Closed, Dead}
	case AuthSent:
		return []State{Established, Dead}
	case Established:
		return []State{Replaced, Deleting, Closed, Dead}
	case Replaced:
		return []State{Deleting, Closed, Dead}
	case Deleting:
		return []State{Closed, Dead}
	case Closed:
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
