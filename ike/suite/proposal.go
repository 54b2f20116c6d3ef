package suite

import (
	"fmt"
	"slices"
	"strings"

	"spindle/ike/wire"
)

// MaxAdditional is how many additional key exchanges there are (RFC 9370 §2.2.1).
const MaxAdditional = 7

// Proposal is one algorithm of each kind: what a connection's configuration
// names, and what a negotiation ends with. Proposals are equal with ==.
type Proposal struct {
	Protocol   wire.Protocol // ProtocolIKE or ProtocolESP
	Encryption wire.Encryption
	KeyBits    uint16         // 0 for an encryption of fixed key length
	Integrity  wire.Integrity // IntegrityNone with a combined mode
	PRF        wire.PRF       // IKE only
	Group      wire.Group     // ESP: of perfect forward secrecy, GroupNone without
	ESN        bool           // ESP only
	// Additional are the key exchanges of the transform types ADDKE1 to ADDKE7,
	// GroupNone where there is none (RFC 9370).
	Additional [MaxAdditional]wire.Group
}

// ParseIKE reads a strongSwan keyword of an IKE proposal such as
// "aes256gcm16-prfsha384-ecp384-ke1_mlkem768". Without a prf word the PRF follows
// the integrity word, which a combined mode needs for nothing else. Weak
// algorithms are refused; see [AllowWeak].
func ParseIKE(s string) (Proposal, error) { return AllowWeak(nil).ParseIKE(s) }

// ParseESP reads a strongSwan keyword of an ESP proposal: "aes256gcm16",
// "aes128-sha256-ecp256" (the group is for perfect forward secrecy), "...-esn".
func ParseESP(s string) (Proposal, error) { return AllowWeak(nil).ParseESP(s) }

func parse(s string, protocol wire.Protocol, permitted AllowWeak) (Proposal, error) {
	p := Proposal{Protocol: protocol}
	seen := map[string]string{}
	for word := range strings.SplitSeq(strings.ToLower(s), "-") {
		kind, weak, ok := p.take(word)
		if !ok {
			return Proposal{}, refuse(word, protocol)
		}
		if weak != "" && !slices.Contains(permitted, weak) {
			return Proposal{}, fmt.Errorf("weak algorithm %q: only for old peers, and only if the connection says allow_weak: [%s]", word, weak)
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
	kindAdditional = "additional key exchange"
	kindESN        = "esn"
)

// take sets the field that word stands for. It returns its kind, and what
// permission a weak one needs.
func (p *Proposal) take(word string) (kind, weak string, ok bool) {
	for _, e := range encryptions {
		if (e.keyword == word || slices.Contains(e.aliases, word)) && p.allows(e) {
			p.Encryption, p.KeyBits = e.id, e.bits
			return kindEncryption, e.weak, true
		}
	}
	for _, a := range integrities {
		if a.keyword == word || slices.Contains(a.aliases, word) {
			p.Integrity = a.id
			return kindIntegrity, a.weak, true
		}
	}
	if n, ok := lookup(prfs, word); ok && p.Protocol == wire.ProtocolIKE {
		p.PRF = wire.PRF(n.id)
		return kindPRF, n.weak, true
	}
	if n, ok := lookup(groups, word); ok {
		p.Group = wire.Group(n.id)
		return kindGroup, n.weak, true
	}
	if (word == "esn" || word == "noesn") && p.Protocol == wire.ProtocolESP {
		p.ESN = word == "esn"
		return kindESN, "", true
	}
	return p.takeAdditional(word)
}

// takeAdditional reads "ke1_mlkem768" to "ke7_...".
func (p *Proposal) takeAdditional(word string) (kind, weak string, ok bool) {
	var n int
	name, found := "", false
	if _, err := fmt.Sscanf(word, "ke%1d_", &n); err == nil && n >= 1 && n <= MaxAdditional {
		_, name, found = strings.Cut(word, "_")
	}
	row, ok := lookup(slices.Concat(kems, groups), name)
	if !found || !ok {
		return "", "", false
	}
	p.Additional[n-1] = wire.Group(row.id)
	return (wire.TransformADDKE1 + wire.TransformType(n-1)).String(), row.weak, true
}

func (p *Proposal) allows(e encryption) bool {
	if p.Protocol == wire.ProtocolIKE {
		return e.use&forIKE != 0
	}
	return e.use&forESP != 0
}

// complete derives what the words left open and checks what they must say.
func (p *Proposal) complete() error {
	e, ok := findEncryption(p.Encryption, p.KeyBits)
	if !ok {
		return fmt.Errorf("no encryption algorithm: name one of %s", words(kindEncryption, p.Protocol))
	}
	if !e.aead() && p.Integrity == wire.IntegrityNone {
		return fmt.Errorf("%s needs an integrity algorithm: name one of %s", e.keyword, words(kindIntegrity, p.Protocol))
	}
	if err := p.completeKE(); err != nil {
		return err
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
	return nil
}

// completeKE checks the key exchanges against each other: none may be chosen
// twice (RFC 9370 §2.2.1), and an additional one needs one to be additional to.
func (p *Proposal) completeKE() error {
	more := p.AdditionalKEs()
	if p.Group == wire.GroupNone && (p.Protocol == wire.ProtocolIKE || len(more) > 0) {
		return fmt.Errorf("no key exchange group: name one of %s", words(kindGroup, p.Protocol))
	}
	for i, g := range more {
		if g == p.Group || slices.Contains(more[:i], g) {
			return fmt.Errorf("key exchange %v twice: additional ones differ from all others", g)
		}
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
	if slices.Contains(absent, word) {
		why = "weak and unsupported algorithm"
	}
	var kinds []string
	for _, kind := range []string{kindEncryption, kindIntegrity, kindPRF, kindGroup, kindAdditional, kindESN} {
		if w := words(kind, protocol); w != "" {
			kinds = append(kinds, kind+" is one of "+w)
		}
	}
	return fmt.Errorf("%s %q: %s", why, word, strings.Join(kinds, "; "))
}

// words lists the keywords of one kind that need no permission.
func words(kind string, protocol wire.Protocol) string {
	var list []string
	p := Proposal{Protocol: protocol}
	switch kind {
	case kindEncryption:
		for _, e := range encryptions {
			if p.allows(e) && e.weak == "" {
				list = append(list, e.keyword)
			}
		}
	case kindIntegrity:
		for _, a := range integrities {
			if a.weak == "" {
				list = append(list, a.keyword)
			}
		}
	case kindPRF:
		if protocol == wire.ProtocolIKE {
			list = keywords(prfs)
		}
	case kindGroup:
		list = keywords(groups)
	case kindAdditional:
		for _, k := range keywords(kems) {
			list = append(list, "ke1_"+k)
		}
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
		if n.weak == "" {
			list = append(list, n.keyword)
		}
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
	for i, g := range p.Additional {
		if g != wire.GroupNone {
			s += fmt.Sprintf("-ke%d_%v", i+1, g)
		}
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

// WithoutKE is p without its key exchanges.
func (p Proposal) WithoutKE() Proposal {
	p.Group = wire.GroupNone
	return p.Classical()
}

// Classical is p without its additional key exchanges.
func (p Proposal) Classical() Proposal {
	p.Additional = [MaxAdditional]wire.Group{}
	return p
}

// AdditionalKEs are the additional key exchanges in the order in which they are
// made (RFC 9370 §2.2.2).
func (p Proposal) AdditionalKEs() []wire.Group {
	var list []wire.Group
	for _, g := range p.Additional {
		if g != wire.GroupNone {
			list = append(list, g)
		}
	}
	return list
}

// WithFallback appends to proposals the classical form of each, so that a peer
// that knows no additional key exchange finds one that it can take.
func WithFallback(proposals []Proposal) []Proposal {
	list := slices.Clone(proposals)
	for _, p := range proposals {
		if p = p.Classical(); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
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
