package session

import (
	"maps"
	"slices"

	"spindle/sadb"
)

// Priorities of SPD entries. Each configured child has its own pair: what
// negotiation narrowed stands right before what was configured, and the order
// of the configuration holds between children.
const (
	firstPriority = 1000
	priorityStep  = 2
)

// SPD chooses the entries of the policy database (RFC 4301 §4.4.1): one for
// each configured child, and one for each child SA whose selectors differ.
type SPD struct {
	last    sadb.PolicyID
	entries map[sadb.PolicyID]*Binding

	children map[childName]*Binding // the configured entries
}

type childName struct{ conn, child string }

// Binding is one SPD entry and the child SAs that serve it.
type Binding struct {
	Policy sadb.Policy

	spd        *SPD
	configured bool
	dynamic    bool // only keeps the place of its child SAs' entries: their addresses are not known yet
	users      int
}

// NewSPD returns an empty database.
func NewSPD() *SPD {
	return &SPD{
		entries:  make(map[sadb.PolicyID]*Binding),
		children: make(map[childName]*Binding),
	}
}

// Lookup finds an entry by the number that the data path names.
func (s *SPD) Lookup(id sadb.PolicyID) (*Binding, bool) {
	b, ok := s.entries[id]
	return b, ok
}

// Configure adds the entry of a configured child, or moves it to the position
// it has now. Nothing is emitted when nothing changes.
func (s *SPD) Configure(out *Outbox, conn *Connection, child *Child, position int) {
	policy := sadb.Policy{
		Priority: firstPriority + priorityStep*uint32(position) + 1,
		Action:   sadb.Protect,
		Local:    child.Local,
		Remote:   child.Remote,
		Acquire:  conn.Start != StartNever && !conn.Remote.Any(),
		Access:   child.AccessOut,
		Conn:     conn.Name,
		Child:    child.Name,
	}
	b := s.configured(conn.Name, child.Name)
	if b == nil {
		b = s.add(policy)
		b.configured = true
		b.dynamic = len(child.Local) == 0 || len(child.Remote) == 0
		s.children[childName{conn.Name, child.Name}] = b
	} else if b.Policy.Priority == policy.Priority {
		return
	}
	policy.ID = b.Policy.ID
	b.Policy = policy
	if !b.dynamic {
		out.Put(Policy{Policy: policy})
	}
}

// Remove takes away every configured entry of the connection.
func (s *SPD) Remove(out *Outbox, conn string) {
	for _, id := range s.ids() {
		if b := s.entries[id]; b.configured && b.Policy.Conn == conn {
			b.drop(out)
		}
	}
}

// Bind finds the entry that a child SA with these selectors serves: the
// configured one if it is just that, else one of its own at better priority
// (RFC 7296 §2.9). A connection that accepts any peer has several child SAs for
// one configured child, so each gets an entry of its own.
func (s *SPD) Bind(out *Outbox, conn *Connection, child *Child, local, remote []sadb.Selector) *Binding {
	conf := s.configured(conn.Name, child.Name)
	local = conn.Inside(child, local)
	whole := slices.Equal(local, child.Local) && slices.Equal(remote, child.Remote)
	if conf != nil && whole && !conn.Remote.Any() {
		conf.users++
		return conf
	}
	policy := sadb.Policy{
		Priority: firstPriority,
		Action:   sadb.Protect,
		Local:    local, Remote: remote,
		// A client's entry comes with its child SA, whose first packets then wait.
		Acquire: (conn.Start != StartNever || conn.V1.EasyVPN) && !conn.Remote.Any(),
		Access:  child.AccessOut,
		Conn:    conn.Name, Child: child.Name,
	}
	if conf != nil {
		policy.Priority = conf.Policy.Priority - 1
	}
	b := s.add(policy)
	b.users = 1
	out.Put(Policy{Policy: b.Policy})
	return b
}

// Retain counts one more child SA that serves the entry.
func (b *Binding) Retain() *Binding {
	b.users++
	return b
}

// Release counts one less; an entry that was made for its child SAs goes with
// the last of them.
func (b *Binding) Release(out *Outbox) {
	b.users--
	if b.users == 0 && !b.configured {
		b.drop(out)
	}
}

func (b *Binding) drop(out *Outbox) {
	if _, ok := b.spd.entries[b.Policy.ID]; !ok {
		return
	}
	delete(b.spd.entries, b.Policy.ID)
	if b.configured {
		delete(b.spd.children, childName{b.Policy.Conn, b.Policy.Child})
	}
	if !b.dynamic {
		out.Put(Policy{Remove: true, Policy: b.Policy})
	}
}

func (s *SPD) add(policy sadb.Policy) *Binding {
	s.last++
	policy.ID = s.last
	b := &Binding{Policy: policy, spd: s}
	s.entries[policy.ID] = b
	return b
}

// configured finds the entry of a configured child.
func (s *SPD) configured(conn, child string) *Binding {
	return s.children[childName{conn, child}]
}

// ids lists the entries in the order they were made, so that what is emitted
// does not depend on the order of a map.
func (s *SPD) ids() []sadb.PolicyID {
	return slices.Sorted(maps.Keys(s.entries))
}
