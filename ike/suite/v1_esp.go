package suite

import (
	"fmt"
	"slices"

	"spindle/ike/wire"
)

// V1ESP is what quick mode agrees on (RFC 2407 §4.5).
type V1ESP struct {
	Proposal Proposal
	Mode     V1Mode
	Lifetime V1Lifetime
	SPI      []byte // the peer's
}

// V1OfferESP is the SA payload of quick mode. The group for perfect forward
// secrecy is one for all: the KE payload is there before the choice (RFC 2409
// §5.5), so only proposals with the group of the first are offered.
func V1OfferESP(ours []Proposal, spi []byte, mode V1Mode, life V1Lifetime) wire.V1SA {
	var sa wire.V1SA
	for _, p := range V1SameGroup(ours) {
		if !p.v1ESPUsable() {
			continue
		}
		number := uint8(len(sa.Proposals) + 1)
		sa.Proposals = append(sa.Proposals, wire.V1Proposal{
			Number: number, Protocol: wire.ProtocolESP, SPI: spi,
			Transforms: []wire.V1Transform{p.v1ESPTransform(1, mode, life)},
		})
	}
	return sa
}

// V1SameGroup are the proposals that one quick mode can offer together.
func V1SameGroup(ours []Proposal) []Proposal {
	return slices.DeleteFunc(slices.Clone(ours), func(p Proposal) bool { return p.Group != ours[0].Group })
}

// v1ESPUsable says whether IKEv1 has numbers for the proposal.
func (p Proposal) v1ESPUsable() bool {
	return v1ESPTransformID(p.Encryption) != 0 &&
		(p.Integrity == wire.IntegrityNone || toV1(v1Integrities, uint16(p.Integrity)) != 0)
}

// v1ESPTransformID is the transform of ESP (RFC 2407 §4.4.4, RFC 4106 §8, RFC
// 4543 §9): IKEv2's number, but for AES-GMAC. ChaCha20-Poly1305 has none.
func v1ESPTransformID(e wire.Encryption) uint8 {
	switch e {
	case wire.EncryptionNullAESGMAC:
		return 23
	case wire.EncryptionChaCha20Poly1305:
		return 0
	}
	return uint8(e)
}

// v1ESPEncryption is the algorithm of a transform.
func v1ESPEncryption(id uint8) wire.Encryption {
	if id == 23 {
		return wire.EncryptionNullAESGMAC
	}
	return wire.Encryption(id)
}

func (p Proposal) v1ESPTransform(number uint8, mode V1Mode, life V1Lifetime) wire.V1Transform {
	t := wire.V1Transform{Number: number, ID: v1ESPTransformID(p.Encryption)}
	if p.KeyBits != 0 {
		t.Attributes = append(t.Attributes, wire.V1Basic(v1ESPKeyLength, p.KeyBits))
	}
	if p.Integrity != wire.IntegrityNone {
		t.Attributes = append(t.Attributes, wire.V1Basic(v1ESPAuth, toV1(v1Integrities, uint16(p.Integrity))))
	}
	if p.Group != wire.GroupNone {
		t.Attributes = append(t.Attributes, wire.V1Basic(v1ESPGroup, uint16(p.Group)))
	}
	if p.ESN {
		t.Attributes = append(t.Attributes, wire.V1Basic(v1ESPESN, 1))
	}
	t.Attributes = append(t.Attributes, wire.V1Basic(v1ESPMode, uint16(mode)))
	t.Attributes = append(t.Attributes, v1Life(v1ESPLifeType, v1ESPLifeDuration, life)...)
	return t
}

// V1SelectESP chooses as the responder. A proposal number that stands twice
// asks for two protocols at once, which nothing here fulfils (RFC 2408 §4.2).
func V1SelectESP(ours []Proposal, modes []V1Mode, offered wire.V1SA) (V1ESP, wire.V1Proposal, error) {
	m := &Mismatch{Field: "protocol"}
	best := 0
	for _, p := range ours {
		m.Accepted = append(m.Accepted, p.String())
		for _, w := range offered.Proposals {
			if w.Protocol != wire.ProtocolESP || v1Bundled(offered, w.Number) {
				continue
			}
			for _, t := range w.Transforms {
				esp, field, rank := p.v1CompareESP(t, modes)
				if field == "" {
					esp.SPI = w.SPI
					w.Transforms = []wire.V1Transform{t}
					return esp, w, nil
				}
				if rank > best {
					m.Field, best = field, rank
				}
			}
		}
	}
	m.Offered = V1DescribeESP(offered)
	return V1ESP{}, wire.V1Proposal{}, m
}

func v1Bundled(sa wire.V1SA, number uint8) bool {
	count := 0
	for _, p := range sa.Proposals {
		if p.Number == number {
			count++
		}
	}
	return count > 1
}

func (p Proposal) v1CompareESP(t wire.V1Transform, modes []V1Mode) (V1ESP, string, int) {
	r := readV1(t.Attributes, v1ESPLifeType, v1ESPLifeDuration, v1ESPGroup, v1ESPMode, v1ESPAuth, v1ESPKeyLength, v1ESPESN)
	mode := V1Mode(r.number(v1ESPMode))
	for i, check := range []struct {
		field string
		same  bool
	}{
		{"encryption", v1ESPEncryption(t.ID) == p.Encryption && p.v1ESPUsable()},
		{"key length", r.number(v1ESPKeyLength) == p.KeyBits},
		{"integrity", fromV1(v1Integrities, r.number(v1ESPAuth)) == uint16(p.Integrity)},
		{"key exchange", r.number(v1ESPGroup) == uint16(p.Group)},
		{"esn", (r.number(v1ESPESN) == 1) == p.ESN},
		{"encapsulation mode", slices.Contains(modes, mode)},
		{r.bad, r.bad == ""},
	} {
		if !check.same {
			return V1ESP{}, check.field, i + 1
		}
	}
	return V1ESP{Proposal: p, Mode: mode, Lifetime: r.life}, "", 0
}

// V1AnswerESP is the responder's SA payload: the chosen transform as it was
// offered, with our own SPI.
func V1AnswerESP(chosen wire.V1Proposal, spi []byte) wire.V1SA {
	chosen.SPI = spi
	return wire.V1SA{Proposals: []wire.V1Proposal{chosen}}
}

// V1ConfirmESP checks as the initiator that the answer is one of what we
// offered. Some peers change the lifetime there, which counts as their
// RESPONDER-LIFETIME.
func V1ConfirmESP(ours []Proposal, modes []V1Mode, answer wire.V1SA) (V1ESP, error) {
	if len(answer.Proposals) != 1 || len(answer.Proposals[0].Transforms) != 1 {
		return V1ESP{}, &Mismatch{Field: "number of transforms", Answer: true, Offered: V1DescribeESP(answer)}
	}
	esp, _, err := V1SelectESP(V1SameGroup(ours), modes, answer)
	if m, ok := err.(*Mismatch); ok {
		m.Answer = true
	}
	return esp, err
}

// V1DescribeESP writes what a peer offers in quick mode, a word for each transform.
func V1DescribeESP(sa wire.V1SA) []string {
	var list []string
	for _, p := range sa.Proposals {
		for _, t := range p.Transforms {
			if p.Protocol != wire.ProtocolESP {
				list = append(list, p.Protocol.String())
				continue
			}
			list = append(list, describeV1ESP(t))
		}
	}
	return list
}

func describeV1ESP(t wire.V1Transform) string {
	r := readV1(t.Attributes, v1ESPLifeType, v1ESPLifeDuration, v1ESPGroup, v1ESPMode, v1ESPAuth, v1ESPKeyLength, v1ESPESN)
	encryption := wire.Transform{Type: wire.TransformEncryption, ID: uint16(v1ESPEncryption(t.ID))}
	if bits := r.number(v1ESPKeyLength); bits != 0 {
		encryption.Attributes = []wire.Attribute{wire.KeyLength(bits)}
	}
	s := describe(encryption)
	if auth := r.number(v1ESPAuth); auth != 0 {
		s += "-" + describe(wire.Transform{Type: wire.TransformIntegrity, ID: fromV1(v1Integrities, auth)})
	}
	if group := r.number(v1ESPGroup); group != 0 {
		s += "-" + wire.Group(group).String()
	}
	return fmt.Sprintf("%s in %v mode", s, V1Mode(r.number(v1ESPMode)))
}

// V1ReadLifetime reads the data of RESPONDER-LIFETIME (RFC 2407 §4.6.3.1), by
// which a responder says how long it will keep an SA. phase is 1 or 2.
func V1ReadLifetime(phase int, attributes []wire.Attribute) (V1Lifetime, bool) {
	kind, duration := v1LifeType, v1LifeDuration
	if phase == 2 {
		kind, duration = v1ESPLifeType, v1ESPLifeDuration
	}
	r := readV1(attributes, kind, duration)
	return r.life, r.bad == ""
}

// V1WriteLifetime is what V1ReadLifetime reads.
func V1WriteLifetime(phase int, life V1Lifetime) []wire.Attribute {
	if phase == 2 {
		return v1Life(v1ESPLifeType, v1ESPLifeDuration, life)
	}
	return v1Life(v1LifeType, v1LifeDuration, life)
}
