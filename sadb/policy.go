package sadb

// PolicyID names an SPD entry. The control process chooses them; 0 is none.
type PolicyID uint32

// Action is what happens to a packet that matches (RFC 4301 §4.4.1).
type Action uint8

const (
	Protect Action = iota
	Bypass
	Discard
)

func (a Action) String() string {
	return [...]string{"PROTECT", "BYPASS", "DISCARD"}[a]
}

// Policy is one entry of the ordered SPD. It governs packets from Local to
// Remote outbound, and from Remote to Local inbound.
type Policy struct {
	ID            PolicyID
	Priority      uint32 // lower wins; equal priorities are ordered by ID, lower first
	Action        Action
	Local, Remote []Selector // a packet matches if any of each side does

	// Acquire asks the control process for an SA when a packet meets a PROTECT
	// entry without one. Without it the packet is dropped and counted.
	Acquire bool

	Access AccessList // what may leave by it (N4)

	Conn, Child string
}
