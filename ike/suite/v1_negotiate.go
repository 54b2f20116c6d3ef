package suite

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"spindle/ike/wire"
)

// V1Lifetime is what a transform says about its SA's life. Zero is no bound.
type V1Lifetime struct {
	Time      time.Duration
	Kilobytes uint64
}

// V1IKE is what phase 1 agrees on: RFC 2409 §5 has the way to authenticate and
// the lifetime in the proposal.
type V1IKE struct {
	Proposal Proposal
	Auth     V1Auth
	Lifetime V1Lifetime
}

// V1Usable says whether IKEv1 can have the proposal: it knows no combined modes
// in phase 1, and one hash for everything.
func (p Proposal) V1Usable() bool {
	a, ok := findIntegrity(p.Integrity)
	return toV1(v1Encryptions, uint16(p.Encryption)) != 0 && ok && p.PRF == a.prf
}

// V1OfferIKE is the SA payload that proposes ours in phase 1, one transform for
// each that IKEv1 can have, in order.
func V1OfferIKE(ours []Proposal, auth V1Auth, life V1Lifetime) wire.V1SA {
	p := wire.V1Proposal{Number: 1, Protocol: wire.ProtocolIKE}
	for _, o := range ours {
		if o.V1Usable() {
			p.Transforms = append(p.Transforms, o.v1IKETransform(uint8(len(p.Transforms)+1), auth, life))
		}
	}
	return wire.V1SA{Proposals: []wire.V1Proposal{p}}
}

func (p Proposal) v1IKETransform(number uint8, auth V1Auth, life V1Lifetime) wire.V1Transform {
	t := wire.V1Transform{Number: number, ID: v1KeyIKE}
	t.Attributes = append(t.Attributes, wire.V1Basic(v1Encryption, toV1(v1Encryptions, uint16(p.Encryption))))
	if p.KeyBits != 0 {
		t.Attributes = append(t.Attributes, wire.V1Basic(v1KeyLength, p.KeyBits))
	}
	t.Attributes = append(t.Attributes,
		wire.V1Basic(v1Hash, toV1(v1Hashes, uint16(p.PRF))),
		wire.V1Basic(v1Group, uint16(p.Group)),
		wire.V1Basic(v1Auth, uint16(auth)))
	t.Attributes = append(t.Attributes, v1Life(v1LifeType, v1LifeDuration, life)...)
	return t
}

// v1Life writes a lifetime as pairs of attributes.
func v1Life(kind, duration uint16, life V1Lifetime) (list []wire.Attribute) {
	if life.Time > 0 {
		list = append(list, wire.V1Basic(kind, v1Seconds), wire.V1Number(duration, clamp32(uint64(life.Time/time.Second))))
	}
	if life.Kilobytes > 0 {
		list = append(list, wire.V1Basic(kind, v1Kilobytes), wire.V1Number(duration, clamp32(life.Kilobytes)))
	}
	return list
}

func clamp32(v uint64) uint32 { return uint32(min(v, 1<<32-1)) }

// v1Read gathers the attributes of a transform. Each may stand once, but for
// the pairs of a lifetime; one that is not known makes the transform one that
// cannot be chosen (RFC 2407 §4.5: "an implementation MAY only support a
// subset").
type v1Read struct {
	values map[uint16]uint64
	life   V1Lifetime
	bad    string
}

func readV1(list []wire.Attribute, kind, duration uint16, known ...uint16) v1Read {
	r := v1Read{values: map[uint16]uint64{}}
	var unit uint64
	for _, a := range list {
		v, ok := a.V1Value()
		_, twice := r.values[a.Type]
		switch {
		case !ok:
			r.bad = fmt.Sprintf("attribute %d", a.Type)
		case a.Type == kind:
			unit = v
		case a.Type == duration:
			r.lifetime(unit, v)
		case twice || !slices.Contains(known, a.Type):
			r.bad = fmt.Sprintf("attribute %d", a.Type)
		default:
			r.values[a.Type] = v
		}
	}
	return r
}

// lifetime takes a duration of the unit that stands in front of it.
func (r *v1Read) lifetime(unit, v uint64) {
	const longest = 10 * 365 * 24 * 3600
	switch unit {
	case uint64(v1Seconds):
		r.life.Time = time.Duration(min(v, longest)) * time.Second
	case uint64(v1Kilobytes):
		r.life.Kilobytes = v
	default:
		r.bad = "lifetime without its type"
	}
}

func (r v1Read) number(t uint16) uint16 { return uint16(min(r.values[t], 1<<16-1)) }

// V1SelectIKE chooses as the responder the first of ours that the peer offers
// with one of the given ways to authenticate. It returns the transform with its
// proposal, for the answer.
func V1SelectIKE(ours []Proposal, auths []V1Auth, offered wire.V1SA) (V1IKE, wire.V1Proposal, error) {
	m := &Mismatch{Field: "protocol"}
	best := 0
	for _, p := range ours {
		if !p.V1Usable() {
			continue
		}
		m.Accepted = append(m.Accepted, p.String())
		for _, w := range offered.Proposals {
			if w.Protocol != wire.ProtocolIKE {
				continue
			}
			for _, t := range w.Transforms {
				ike, field, rank := p.v1CompareIKE(t, auths)
				if field == "" {
					w.Transforms = []wire.V1Transform{t}
					return ike, w, nil
				}
				if rank > best {
					m.Field, best = field, rank
				}
			}
		}
	}
	m.Offered = V1DescribeIKE(offered)
	for i := range m.Accepted {
		m.Accepted[i] += " by " + joinAuths(auths)
	}
	return V1IKE{}, wire.V1Proposal{}, m
}

func joinAuths(auths []V1Auth) string {
	var words []string
	for _, a := range auths {
		words = append(words, a.String())
	}
	return strings.Join(words, " or ")
}

// v1CompareIKE names the first attribute in which a transform is not p, ""
// when it is.
func (p Proposal) v1CompareIKE(t wire.V1Transform, auths []V1Auth) (V1IKE, string, int) {
	r := readV1(t.Attributes, v1LifeType, v1LifeDuration, v1Encryption, v1Hash, v1Auth, v1Group, v1KeyLength)
	auth := V1Auth(r.number(v1Auth))
	for i, check := range []struct {
		field string
		same  bool
	}{
		{"transform", t.ID == v1KeyIKE},
		{"encryption", fromV1(v1Encryptions, r.number(v1Encryption)) == uint16(p.Encryption)},
		{"key length", r.number(v1KeyLength) == p.KeyBits},
		{"hash", fromV1(v1Hashes, r.number(v1Hash)) == uint16(p.PRF)},
		{"key exchange", r.number(v1Group) == uint16(p.Group)},
		{"authentication", slices.Contains(auths, auth)},
		{r.bad, r.bad == ""},
	} {
		if !check.same {
			return V1IKE{}, check.field, i + 1
		}
	}
	return V1IKE{Proposal: p, Auth: auth, Lifetime: r.life}, "", 0
}

// V1ConfirmIKE checks as the initiator that the answer is one of the transforms
// that we offered, unchanged: RFC 2409 §5, "the responder ... MUST NOT modify
// attributes of any offer".
func V1ConfirmIKE(offer, answer wire.V1SA, ours []Proposal) (V1IKE, error) {
	m := &Mismatch{Field: "number of transforms", Answer: true, Offered: V1DescribeIKE(answer), Accepted: V1DescribeIKE(offer)}
	if len(answer.Proposals) != 1 || len(answer.Proposals[0].Transforms) != 1 {
		return V1IKE{}, m
	}
	t := answer.Proposals[0].Transforms[0]
	for _, o := range offer.Proposals[0].Transforms {
		if !sameAttributes(o.Attributes, t.Attributes) {
			continue
		}
		r := readV1(o.Attributes, v1LifeType, v1LifeDuration, v1Auth)
		auths := []V1Auth{V1Auth(r.number(v1Auth))}
		for _, p := range ours {
			if ike, field, _ := p.v1CompareIKE(t, auths); field == "" {
				return ike, nil
			}
		}
	}
	m.Field = "transform"
	return V1IKE{}, m
}

// sameAttributes compares values, in any order and form.
func sameAttributes(a, b []wire.Attribute) bool {
	same := func(x, y wire.Attribute) bool {
		v, okX := x.V1Value()
		w, okY := y.V1Value()
		return x.Type == y.Type && okX && okY && v == w
	}
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.ContainsFunc(b, func(y wire.Attribute) bool { return same(x, y) }) {
			return false
		}
	}
	return true
}

// V1DescribeIKE writes what a peer offers for phase 1, a word for each transform.
func V1DescribeIKE(sa wire.V1SA) []string {
	var list []string
	for _, p := range sa.Proposals {
		for _, t := range p.Transforms {
			list = append(list, describeV1IKE(t))
		}
	}
	return list
}

func describeV1IKE(t wire.V1Transform) string {
	r := readV1(t.Attributes, v1LifeType, v1LifeDuration, v1Encryption, v1Hash, v1Auth, v1Group, v1KeyLength)
	encryption := wire.Transform{Type: wire.TransformEncryption, ID: fromV1(v1Encryptions, r.number(v1Encryption))}
	if bits := r.number(v1KeyLength); bits != 0 {
		encryption.Attributes = []wire.Attribute{wire.KeyLength(bits)}
	}
	prf := wire.Transform{Type: wire.TransformPRF, ID: fromV1(v1Hashes, r.number(v1Hash))}
	return fmt.Sprintf("%s-%s-%v by %v", describe(encryption), strings.TrimPrefix(describe(prf), "prf"),
		wire.Group(r.number(v1Group)), V1Auth(r.number(v1Auth)))
}
