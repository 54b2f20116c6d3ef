package v2

import (
	"net/netip"
	"slices"
	"time"

	"spindle/ike/session"
	"spindle/ike/wire"
	"spindle/sadb"
)

// offer is the traffic that a peer wants a child SA for, seen from our side.
type offer struct {
	local, remote         []sadb.Selector // as they were sent
	transport             bool            // USE_TRANSPORT_MODE
	seenLocal, seenRemote []sadb.Selector // in transport mode: with the addresses that the IKE SA has
	virtual               bool            // the peer asked for an inside address
}

// offer reads a peer's selectors. In transport mode the addresses are those of
// the two ends, and a NAT between them shows each end another address than the
// other knows of itself: RFC 7296 §2.23.1, the responder puts those of the IKE SA
// in the place of what was sent before it looks at its policy.
func (s *SA) offer(payloads []wire.Payload, local, remote []sadb.Selector) offer {
	o := offer{local: local, remote: remote, seenLocal: local, seenRemote: remote}
	_, o.transport = wire.FindNotify(payloads, wire.NotifyUseTransportMode)
	if cp, ok := wire.Find[wire.CP](payloads); ok {
		o.virtual = cp.Type == wire.ConfigRequest
	}
	if o.transport {
		o.seenLocal, o.seenRemote = s.asSeen(local, remote)
	}
	return o
}

// asSeen puts the addresses of the IKE SA in the place of those behind a NAT. What
// names more than one address is no end of transport mode and stays (RFC 7296
// §2.23.1: "the Traffic Selectors ... MUST contain exactly one IP address").
func (s *SA) asSeen(local, remote []sadb.Selector) (seenLocal, seenRemote []sadb.Selector) {
	if s.natLocal && oneAddress(local).IsValid() {
		local = onAddress(local, s.local.Addr())
	}
	if s.natRemote && oneAddress(remote).IsValid() {
		remote = onAddress(remote, s.remote.Addr())
	}
	return local, remote
}

// ends are the selectors for a child of ours, and whether its mode can be had. A
// peer that asks for transport mode takes tunnel mode as well, or deletes the
// child SA (RFC 7296 §1.3.1); the other way round there is no choice.
func (o offer) ends(conf *session.Child) (local, remote []sadb.Selector, ok bool) {
	if conf.Mode == sadb.Transport {
		return o.seenLocal, o.seenRemote, o.transport
	}
	return o.local, o.remote, true
}

// pair narrows to the one pair of addresses that the packet at the peer was of:
// its selectors come first (RFC 7296 §2.9), or to that of the child SA that is to
// be replaced. Without either there is none.
func (o offer) pair(local, remote []sadb.Selector, replaces *child) (oneLocal, oneRemote []sadb.Selector) {
	if replaces != nil && within(replaces.LocalTS, local) && within(replaces.RemoteTS, remote) {
		return replaces.LocalTS, replaces.RemoteTS
	}
	l, r := oneAddress(o.local[:min(1, len(o.local))]), oneAddress(o.remote[:min(1, len(o.remote))])
	if !l.IsValid() || !r.IsValid() {
		return nil, nil
	}
	if local, remote = onlyAddress(local, l), onlyAddress(remote, r); len(local) == 0 || len(remote) == 0 {
		return nil, nil
	}
	return local, remote
}

// onlyAddress narrows selectors to one address.
func onlyAddress(list []sadb.Selector, a netip.Addr) []sadb.Selector {
	return narrow(list, hostSelectors([]netip.Addr{a}))
}

// answerSelectors are those that the child SA has, with the addresses as the peer
// knows them, and a hint if another child of ours would carry more of what it
// asked for (RFC 7296 §2.9, ADDITIONAL_TS_POSSIBLE).
func (s *SA) answerSelectors(o offer, conf *session.Child, local, remote []sadb.Selector, replaces *child) []wire.Payload {
	if conf.Mode == sadb.Transport {
		local, remote = restoreAddress(local, o.seenLocal, o.local), restoreAddress(remote, o.seenRemote, o.remote)
	}
	answer := []wire.Payload{wire.TSi{Selectors: toWire(remote)}, wire.TSr{Selectors: toWire(local)}}
	if replaces == nil && s.couldCarryMore(o, conf) {
		answer = append(answer, wire.Notify{Type: wire.NotifyAdditionalTSPossible})
	}
	return answer
}

// couldCarryMore reports whether another child has something in common with what
// the peer asked for, beyond what the chosen one carries.
func (s *SA) couldCarryMore(o offer, chosen *session.Child) bool {
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		local, remote, ok := o.ends(conf)
		if conf == chosen || !ok {
			continue
		}
		l, r := narrow(local, s.localOf(conf)), narrow(remote, s.remoteOf(conf))
		if len(l) > 0 && len(r) > 0 && !(within(l, s.localOf(chosen)) && within(r, s.remoteOf(chosen))) {
			return true
		}
	}
	return false
}

// restoreAddress undoes what asSeen did: RFC 7296 §2.23.1, the response has the
// addresses that the request had.
func restoreAddress(list, seen, sent []sadb.Selector) []sadb.Selector {
	if a := oneAddress(sent); a.IsValid() && oneAddress(seen).IsValid() {
		return onAddress(list, a)
	}
	return list
}

// oneAddress is the only address that the selectors name, if it is one.
func oneAddress(list []sadb.Selector) netip.Addr {
	if len(list) == 0 {
		return netip.Addr{}
	}
	a := list[0].First
	if slices.ContainsFunc(list, func(s sadb.Selector) bool { return s.First != a || s.Last != a }) {
		return netip.Addr{}
	}
	return a
}

// onAddress keeps protocols and ports of the selectors of that family and puts
// one address in the place of theirs.
func onAddress(list []sadb.Selector, a netip.Addr) []sadb.Selector {
	var out []sadb.Selector
	for _, s := range list {
		if s.First.Is4() == a.Is4() {
			s.First, s.Last = a, a
			out = insert(out, s)
		}
	}
	return out
}

// refuseMode says that only the mode, or the way to an inside address, keeps a
// child from fitting.
func (s *SA) refuseMode(now time.Time, o offer) *wire.Notify {
	for i := range s.conn.Children {
		conf := &s.conn.Children[i]
		if conf.Mode == sadb.Transport && !o.transport && len(narrow(o.local, conf.Local)) > 0 && len(narrow(o.remote, conf.Remote)) > 0 {
			s.refuseChild(now, conf.Name, "peer asks for tunnel mode, we accept transport mode (configuration key: children.mode)")
			return &wire.Notify{Type: wire.NotifyNoProposalChosen}
		}
		if len(conf.Remote) == 0 && s.conn.Pool != nil && !o.virtual && len(s.inside.leased) == 0 {
			s.refuseChild(now, conf.Name, "peer does not ask for an inside address, we accept no other (configuration key: pool)")
			return &wire.Notify{Type: wire.NotifyFailedCPRequired}
		}
	}
	return nil
}

// onePair are the selectors for the addresses of one packet alone, if they are
// what is to be asked for.
func (s *SA) onePair(a *attempt) (local, remote []sadb.Selector, ok bool) {
	if !a.pair && !a.conf.SinglePair || !a.flow.Src.IsValid() || !a.flow.Dst.IsValid() {
		return nil, nil, false
	}
	local, remote = onlyAddress(s.localOf(a.conf), a.flow.Src), onlyAddress(s.remoteOf(a.conf), a.flow.Dst)
	return local, remote, len(local) > 0 && len(remote) > 0
}

// announceChildless tells an initiator that IKE_AUTH may do without a child SA
// (RFC 6023 §3). Which connection it means is not known yet: one is enough.
func (s *SA) announceChildless() []wire.Payload {
	if !slices.ContainsFunc(s.candidates, func(c *session.Connection) bool { return c.Childless }) {
		return nil
	}
	return []wire.Payload{wire.Notify{Type: wire.NotifyChildlessSupported}}
}

// learnChildless takes the responder's announcement.
func (s *SA) learnChildless(m wire.Message) {
	_, s.handshake.childless = wire.FindNotify(m.Payloads, wire.NotifyChildlessSupported)
}

// wantsNoChild reports whether IKE_AUTH is without a child SA: RFC 6023 §4, it
// then has neither SA nor TS payloads.
func (s *SA) wantsNoChild(payloads []wire.Payload) bool {
	_, sa := wire.Find[wire.SA](payloads)
	_, tsi := wire.Find[wire.TSi](payloads)
	_, tsr := wire.Find[wire.TSr](payloads)
	return s.conn.Childless && !sa && !tsi && !tsr
}
