package suite

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"spindle/ike/wire"
)

// Offer is the SA payload that proposes ours, in order and numbered from 1
// (RFC 7296 §3.3.1). spi is empty in IKE_SA_INIT.
func Offer(ours []Proposal, spi []byte) wire.SA {
	var sa wire.SA
	for i, p := range ours {
		sa.Proposals = append(sa.Proposals, p.Wire(uint8(i+1), spi))
	}
	return sa
}

// lastTransform is the highest transform type that is negotiated: ADDKE7.
const lastTransform = wire.TransformADDKE1 + MaxAdditional - 1

// Wire is p as a proposal substructure.
func (p Proposal) Wire(number uint8, spi []byte) wire.Proposal {
	w := wire.Proposal{Number: number, Protocol: p.Protocol, SPI: spi}
	for t := wire.TransformEncryption; t <= lastTransform; t++ {
		if transform, ok := p.transform(t); ok && !optional(transform) {
			w.Transforms = append(w.Transforms, transform)
		}
	}
	return w
}

// optional says that a transform is the NONE which may be left out.
func optional(t wire.Transform) bool {
	return t.ID == 0 && (t.Type == wire.TransformIntegrity || t.Type == wire.TransformKE || t.Type >= wire.TransformADDKE1)
}

// transform is p's choice of one type, false when its protocol has no such
// type (RFC 7296 §3.3.3).
func (p Proposal) transform(t wire.TransformType) (wire.Transform, bool) {
	ike := p.Protocol == wire.ProtocolIKE
	switch t {
	case wire.TransformEncryption:
		w := wire.Transform{Type: t, ID: uint16(p.Encryption)}
		if p.KeyBits != 0 {
			w.Attributes = []wire.Attribute{wire.KeyLength(p.KeyBits)}
		}
		return w, true
	case wire.TransformPRF:
		return wire.Transform{Type: t, ID: uint16(p.PRF)}, ike
	case wire.TransformIntegrity:
		return wire.Transform{Type: t, ID: uint16(p.Integrity)}, true
	case wire.TransformKE:
		return wire.Transform{Type: t, ID: uint16(p.Group)}, true
	case wire.TransformESN:
		id := wire.ESNNo
		if p.ESN {
			id = wire.ESNYes
		}
		return wire.Transform{Type: t, ID: id}, !ike
	}
	if t >= wire.TransformADDKE1 && t <= lastTransform {
		return wire.Transform{Type: t, ID: uint16(p.Additional[t-wire.TransformADDKE1])}, true
	}
	return wire.Transform{}, false
}

// Select chooses as the responder: the first of ours that any proposal of the
// peer holds (RFC 7296 §2.7). The order of preference is ours, not the peer's.
// It returns that proposal of the peer too, for its number and SPI. When
// nothing fits, the error is a *Mismatch and the answer NO_PROPOSAL_CHOSEN.
func Select(ours []Proposal, offered []wire.Proposal) (Proposal, wire.Proposal, error) {
	m := &Mismatch{Field: "proposal"}
	best := -1
	for _, p := range ours {
		for _, w := range offered {
			field, rank := p.difference(w)
			if field == "" {
				return p, w, nil
			}
			if rank > best {
				m.Field, best = field, rank
			}
		}
	}
	for _, w := range offered {
		m.Offered = append(m.Offered, Describe(w))
	}
	for _, p := range ours {
		m.Accepted = append(m.Accepted, p.String())
	}
	return Proposal{}, wire.Proposal{}, m
}

// difference compares p with what a peer offered, in the order of the
// transform types, and names the first that does not hold p's choice; "" when
// all do. rank is how far it got.
func (p Proposal) difference(w wire.Proposal) (field string, rank int) {
	if w.Protocol != p.Protocol {
		return "protocol", 0
	}
	for t := wire.TransformEncryption; t <= lastTransform; t++ {
		if !p.holds(t, w.Transforms) {
			return t.String(), int(t)
		}
	}
	for _, t := range w.Transforms {
		// With "a Transform Type it does not understand, or a proposal that is
		// missing a mandatory Transform Type, it MUST consider this proposal
		// unacceptable" (RFC 7296 §3.3.6).
		if _, known := p.transform(t.Type); !known {
			return t.Type.String(), int(lastTransform) + 1
		}
	}
	return "", 0
}

// holds says whether p's choice of type t is among transforms.
func (p Proposal) holds(t wire.TransformType, transforms []wire.Transform) bool {
	want, needed := p.transform(t)
	if !needed {
		return true
	}
	found := false
	for _, o := range transforms {
		if o.Type != t {
			continue
		}
		if o.ID == want.ID && slices.EqualFunc(o.Attributes, want.Attributes, equalAttribute) {
			return true
		}
		found = true
	}
	return !found && optional(want)
}

func equalAttribute(a, b wire.Attribute) bool {
	return a.Type == b.Type && a.Short == b.Short && slices.Equal(a.Value, b.Value)
}

// Answer is the responder's SA payload: chosen, under the number of the
// proposal it was found in, with one transform of each type that one holds, in
// its order (RFC 7296 §3.3), and our own SPI.
func Answer(chosen Proposal, offered wire.Proposal, spi []byte) wire.SA {
	w := wire.Proposal{Number: offered.Number, Protocol: chosen.Protocol, SPI: spi}
	for _, o := range offered.Transforms {
		transform, ok := chosen.transform(o.Type)
		if ok && !slices.ContainsFunc(w.Transforms, func(t wire.Transform) bool { return t.Type == o.Type }) {
			w.Transforms = append(w.Transforms, transform)
		}
	}
	return wire.SA{Proposals: []wire.Proposal{w}}
}

// Confirm checks, as the initiator, the answer to Offer(ours, ...): it "MUST
// check that the accepted offer is consistent with one of its proposals, and if
// not MUST terminate the exchange" (RFC 7296 §3.3.6). The error is a *Mismatch.
func Confirm(ours []Proposal, answer wire.SA) (Proposal, wire.Proposal, error) {
	m := &Mismatch{Field: "number of proposals", Answer: true}
	for _, p := range ours {
		m.Accepted = append(m.Accepted, p.String())
	}
	for _, w := range answer.Proposals {
		m.Offered = append(m.Offered, Describe(w))
	}
	if len(answer.Proposals) != 1 {
		return Proposal{}, wire.Proposal{}, m
	}
	w := answer.Proposals[0]
	if w.Number == 0 || int(w.Number) > len(ours) {
		m.Field = "proposal number"
		return Proposal{}, wire.Proposal{}, m
	}
	p := ours[w.Number-1]
	if m.Field, _ = p.difference(w); m.Field != "" {
		return Proposal{}, wire.Proposal{}, m
	}
	seen := map[wire.TransformType]bool{}
	for _, t := range w.Transforms {
		if seen[t.Type] {
			m.Field = "more than one " + t.Type.String()
			return Proposal{}, wire.Proposal{}, m
		}
		seen[t.Type] = true
	}
	return p, w, nil
}

// Mismatch is why no proposal was chosen.
type Mismatch struct {
	Field    string   // the first field that differs in the proposals that agree furthest
	Offered  []string // by the peer, best first
	Accepted []string // by us, best first
	Answer   bool     // the peer answered our own offer with this
}

func (m *Mismatch) Error() string {
	did, ask := "offered", "accept"
	if m.Answer {
		did, ask = "answered", "offered"
	}
	return fmt.Sprintf("no common proposal, first difference in %s: peer %s %s; we %s %s", m.Field, did,
		strings.Join(m.Offered, ", "), ask, strings.Join(m.Accepted, ", "))
}

// Describe writes a peer's proposal in keywords, every transform of it.
func Describe(w wire.Proposal) string {
	var list []string
	for _, t := range w.Transforms {
		list = append(list, describe(t))
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, "-")
}

func describe(t wire.Transform) string {
	bits := keyBits(t)
	switch t.Type {
	case wire.TransformEncryption:
		if e, ok := findEncryption(wire.Encryption(t.ID), bits); ok {
			return e.keyword
		}
	case wire.TransformPRF:
		if n, ok := findNamed(prfs, t.ID); ok {
			return n.keyword
		}
	case wire.TransformIntegrity:
		if a, ok := findIntegrity(wire.Integrity(t.ID)); ok {
			return a.keyword
		}
	case wire.TransformKE:
		return wire.Group(t.ID).String()
	case wire.TransformESN:
		return [...]string{"noesn", "esn"}[t.ID&1]
	}
	if t.Type >= wire.TransformADDKE1 && t.Type <= lastTransform {
		return fmt.Sprintf("ke%d_%v", t.Type-wire.TransformADDKE1+1, wire.Group(t.ID))
	}
	name, ok := offeredNames[t.Type][t.ID]
	if !ok {
		name = fmt.Sprintf("%v(%d)", t.Type, t.ID)
	}
	if bits != 0 {
		name += fmt.Sprintf("/%d", bits)
	}
	return name
}

// keyBits is the key length attribute of t, 0 without one.
func keyBits(t wire.Transform) uint16 {
	for _, a := range t.Attributes {
		if a.Type == wire.AttributeKeyLength && a.Short && len(a.Value) == 2 {
			return binary.BigEndian.Uint16(a.Value)
		}
	}
	return 0
}

// InvalidKE asks the initiator to try again with group (RFC 7296 §1.3).
func InvalidKE(group wire.Group) wire.Notify {
	return wire.Notify{Type: wire.NotifyInvalidKEPayload, Data: binary.BigEndian.AppendUint16(nil, uint16(group))}
}

// InvalidKEGroup is the group that an INVALID_KE_PAYLOAD asks for. The caller
// checks that it is one it offered, and another than it sent: else anybody on
// the path could choose the weakest, or keep it trying (RFC 7296 §1.2).
func InvalidKEGroup(n wire.Notify) (wire.Group, error) {
	if len(n.Data) != 2 {
		return wire.GroupNone, fmt.Errorf("%v with %d octets instead of a group", n.Type, len(n.Data))
	}
	return wire.Group(binary.BigEndian.Uint16(n.Data)), nil
}
