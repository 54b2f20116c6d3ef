package suite

import (
	"fmt"
	"slices"
	"strings"

	"spindle/ike/wire"
)

// Proposal is one algorithm of each kind: what a connection's configuration
// names, and what a negotiation ends with. Proposals are equal with ==.
type Proposal struct {
	Protocol   wire.Protocol // ProtocolIKE or ProtocolESP
	Encryption wire.Encryption
	KeyBits    uint16
	Integrity  wire.Integrity // IntegrityNone with a combined mode
	PRF        wire.PRF       // IKE only
	Group      wire.Group     // ESP: of perfect forward secrecy, GroupNone without
	ESN        bool           // ESP only
}

// ParseIKE reads a strongSwan keyword of an IKE proposal such as
// "aes256gcm16-prfsha384-ecp384". Without a prf word the PRF follows the
// integrity word, which a combined mode needs for nothing else.
func ParseIKE(s string) (Proposal, error) {
	p, err := parse(s, wire.ProtocolIKE)
	if err != nil {
		return Proposal{}, fmt.Errorf("IKE proposal %q: %w", s, err)
	}
	return p, nil
}

// ParseESP reads a strongSwan keyword of an ESP proposal: "aes256gcm16",
// "aes128-sha256-ecp256" (the group is for perfect forward secrecy), "...-esn".
func ParseESP(s string) (Proposal, error) {
	p, err := parse(s, wire.ProtocolESP)
	if err != nil {
		return Proposal{}, fmt.Errorf("ESP proposal %q: %w", s, err)
	}
	return p, nil
}

func parse(s string, protocol wire.Protocol) (Proposal, error) {
	p := Proposal{Protocol: protocol}
	seen := map[string]string{}
	for word := range strings.SplitSeq(strings.ToLower(s), "-") {
		kind, ok := p.take(word)
		if !ok {
			return Proposal{}, refuse(word, protocol)
		}
		if other := seen[kind]; other != "" {
			return Proposal{}, fmt.Errorf("%q and %q are both %s: write two proposals", other, word, kind)
		}
		seen[kind] = word
	}
	if err := p.complete(); err != nil {
		return Proposal{}, err
	}
	return p, nil
}

// Kinds of words, as they are said to the operator.
const (
	kindEncryption = "encryption"
	kindIntegrity  = "integrity"
	kindPRF        = "prf"
	kindGroup      = "key exchange"
	kindESN        = "esn"
)

// take sets the field that word stands for and returns its kind.
func (p *Proposal) take(word string) (kind string, ok bool) {
	for _, e := range encryptions {
		if (e.keyword == word || slices.Contains(e.aliases, word)) && p.allows(e) {
			p.Encryption, p.KeyBits = e.id, e.bits
			return kindEncryption, true
		}
	}
	for _, a := range integrities {
		if a.keyword == word || slices.Contains(a.aliases, word) {
			p.Integrity = a.id
			return kindIntegrity, true
		}
	}
	if n, ok := lookup(prfs, word); ok && p.Protocol == wire.ProtocolIKE {
		p.PRF = wire.PRF(n.id)
		return kindPRF, true
	}
	if n, ok := lookup(groups, word); ok {
		p.Group = wire.Group(n.id)
		return kindGroup, true
	}
	if (word == "esn" || word == "noesn") && p.Protocol == wire.ProtocolESP {
		p.ESN = word == "esn"
		return kindESN, true
	}
	return "", false
}

func (p *Proposal) allows(e encryption) bool { return p.Protocol == wire.ProtocolIKE || e.esp }

// complete derives what the words left open and checks what they must say.
func (p *Proposal) complete() error {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok {
		return fmt.Errorf("no encryption algorithm: name one of %s", words(kindEncryption, p.Protocol))
	}
	if !e.aead() && p.Integrity == wire.IntegrityNone {
		return fmt.Errorf("%s needs an integrity algorithm: name one of %s", e.keyword, words(kindIntegrity, p.Protocol))
	}
	if p.Protocol == wire.ProtocolESP {
		if e.aead() && p.Integrity != wire.IntegrityNone {
			return fmt.Errorf("%s brings its own integrity: leave the other one out", e.keyword)
		}
		return nil
	}
	if a, ok := findIntegrity(p.Integrity); ok && p.PRF == 0 {
		p.PRF = a.prf
	}
	if e.aead() {
		p.Integrity = wire.IntegrityNone
	}
	if p.PRF == 0 {
		return fmt.Errorf("no prf: name one of %s", words(kindPRF, p.Protocol))
	}
	if p.Group == wire.GroupNone {
		return fmt.Errorf("no key exchange group: name one of %s", words(kindGroup, p.Protocol))
	}
	return nil
}

func lookup(table []named, word string) (named, bool) {
	for _, n := range table {
		if n.keyword == word || n.alias != "" && n.alias == word {
			return n, true
		}
	}
	return named{}, false
}

// refuse says why word means nothing here, and what would.
func refuse(word string, protocol wire.Protocol) error {
	why := "unknown word"
	if slices.Contains(weak, word) {
		why = "weak algorithm"
	}
	var kinds []string
	for _, kind := range []string{kindEncryption, kindIntegrity, kindPRF, kindGroup, kindESN} {
		if w := words(kind, protocol); w != "" {
			kinds = append(kinds, kind+" is one of "+w)
		}
	}
	return fmt.Errorf("%s %q: %s", why, word, strings.Join(kinds, "; "))
}

// words lists the keywords of one kind.
func words(kind string, protocol wire.Protocol) string {
	var list []string
	p := Proposal{Protocol: protocol}
	switch kind {
	case kindEncryption:
		for _, e := range encryptions {
			if p.allows(e) {
				list = append(list, e.keyword)
			}
		}
	case kindIntegrity:
		for _, a := range integrities {
			list = append(list, a.keyword)
		}
	case kindPRF:
		if protocol == wire.ProtocolIKE {
			list = keywords(prfs)
		}
	case kindGroup:
		list = keywords(groups)
	case kindESN:
		if protocol == wire.ProtocolESP {
			list = []string{"esn", "noesn"}
		}
	}
	return strings.Join(list, " ")
}

func keywords(table []named) []string {
	var list []string
	for _, n := range table {
		list = append(list, n.keyword)
	}
	return list
}

// String is the keyword, in strongSwan's order of words.
func (p Proposal) String() string {
	s := p.Suite()
	a, _ := findIntegrity(p.Integrity)
	if n, ok := findNamed(prfs, uint16(p.PRF)); ok && p.Protocol == wire.ProtocolIKE && p.PRF != a.prf {
		s += "-" + n.keyword
	}
	if p.Group != wire.GroupNone {
		s += "-" + p.Group.String()
	}
	if p.ESN {
		s += "-esn"
	}
	return s
}

// Suite is the keyword without prf, group and esn: what sadb.SA calls Suite.
func (p Proposal) Suite() string {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok {
		return "none"
	}
	if a, ok := findIntegrity(p.Integrity); ok {
		return e.keyword + "-" + a.keyword
	}
	return e.keyword
}

// MarshalText gives JSON and logs the keyword.
func (p Proposal) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// WithoutKE is p without its group.
func (p Proposal) WithoutKE() Proposal {
	p.Group = wire.GroupNone
	return p
}

// StripKE is what is offered or accepted for the child SA of IKE_AUTH, where no
// KE payload exists and "SA payloads ... cannot contain Transform Type 4" other
// than NONE (RFC 7296 §1.2). What became equal is left out.
func StripKE(proposals []Proposal) []Proposal {
	var list []Proposal
	for _, p := range proposals {
		if p = p.WithoutKE(); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}
