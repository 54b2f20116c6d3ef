package session

import (
	"net/netip"
	"slices"
	"time"
)

// Peers is the list of a connection's remote addresses (P1): they are tried in
// order, and after the last comes the first again.
type Peers struct {
	addrs   []netip.Addr
	current int
	failed  int // addresses that failed since one last worked
}

// Set replaces the list. A current address that is still in it stays current.
func (p *Peers) Set(addrs []netip.Addr) {
	current, had := p.Current()
	p.addrs = slices.Clone(addrs)
	p.current = 0
	if i := slices.Index(addrs, current); had && i >= 0 {
		p.current = i
	}
}

// Current is the address to talk to, false when there is none.
func (p *Peers) Current() (netip.Addr, bool) {
	if len(p.addrs) == 0 {
		return netip.Addr{}, false
	}
	return p.addrs[p.current], true
}

// First is the preferred address.
func (p *Peers) First() (netip.Addr, bool) {
	if len(p.addrs) == 0 {
		return netip.Addr{}, false
	}
	return p.addrs[0], true
}

// Preferred reports whether the current address is the first.
func (p *Peers) Preferred() bool { return p.current == 0 }

// Several reports whether there is another one to go to.
func (p *Peers) Several() bool { return len(p.addrs) > 1 }

// Failed moves on to the next address, and reports whether that one is still
// untried since an address last worked: then there is no reason to wait.
func (p *Peers) Failed() bool {
	if len(p.addrs) == 0 {
		return false
	}
	p.current = (p.current + 1) % len(p.addrs)
	p.failed++
	if p.failed >= len(p.addrs) {
		p.failed = 0
		return false
	}
	return true
}

// Worked notes that a peer of ours has an IKE SA with us.
func (p *Peers) Worked(at netip.Addr) {
	p.failed = 0
	if i := slices.Index(p.addrs, at); i >= 0 {
		p.current = i
	}
}

// FailBack spaces the attempts to return to a preferred peer (P2): the hold
// time after the fail-over, and twice as long after each attempt in vain.
type FailBack struct {
	Hold  time.Duration // 0 never returns
	tries int
}

const failBackMax = 6 // doublings

// Wait is how long to stay with the backup peer before the next attempt.
func (f *FailBack) Wait() time.Duration { return f.Hold << min(f.tries, failBackMax) }

// Failed and Done note how an attempt ended.
func (f *FailBack) Failed() { f.tries++ }
func (f *FailBack) Done()   { f.tries = 0 }
