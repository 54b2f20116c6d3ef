package suite

import (
	"fmt"
	"slices"
	"strings"

	"spindle/ike/wire"
)

// AllowWeak names the weak algorithms that a connection permits for the sake of
// an old peer, each by its word: "3des", "des", "null", "sha1", "md5",
// "modp1536", "modp1024", "modp768" (BEHAVIOUR O3). A hash is permitted in all
// its roles. The nil value permits none.
type AllowWeak []string

// ParseIKE is [ParseIKE] with this permission.
func (w AllowWeak) ParseIKE(s string) (Proposal, error) {
	p, err := parse(s, wire.ProtocolIKE, w)
	if err != nil {
		return Proposal{}, fmt.Errorf("IKE proposal %q: %w", s, err)
	}
	return p, nil
}

// ParseESP is [ParseESP] with this permission.
func (w AllowWeak) ParseESP(s string) (Proposal, error) {
	p, err := parse(s, wire.ProtocolESP, w)
	if err != nil {
		return Proposal{}, fmt.Errorf("ESP proposal %q: %w", s, err)
	}
	return p, nil
}

// Check refuses words that name no weak algorithm.
func (w AllowWeak) Check() error {
	for _, word := range w {
		if !slices.Contains(weakWords(), word) {
			return fmt.Errorf("allow_weak %q: name one of %s", word, strings.Join(weakWords(), " "))
		}
	}
	return nil
}

// Weak are the words of AllowWeak that p needs.
func (p Proposal) Weak() []string {
	var list []string
	add := func(word string) {
		if word != "" && !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	if e, ok := findEncryption(p.Encryption, p.KeyBits); ok {
		add(e.weak)
	}
	if a, ok := findIntegrity(p.Integrity); ok {
		add(a.weak)
	}
	if n, ok := findNamed(prfs, uint16(p.PRF)); ok {
		add(n.weak)
	}
	for _, g := range append(p.AdditionalKEs(), p.Group) {
		if n, ok := findNamed(groups, uint16(g)); ok {
			add(n.weak)
		}
	}
	return list
}

func weakWords() []string {
	var list []string
	for _, e := range encryptions {
		list = append(list, e.weak)
	}
	for _, a := range integrities {
		list = append(list, a.weak)
	}
	for _, g := range groups {
		list = append(list, g.weak)
	}
	return slices.DeleteFunc(list, func(s string) bool { return s == "" })
}

// ESPSuites are the proposals of every combination of encryption and integrity
// that ESP has here, weak ones last: what the data path must know by the same
// words and with the same KEYMAT (Suite and KeymatLen).
func ESPSuites() []Proposal {
	var strong, weak []Proposal
	add := func(p Proposal) {
		if len(p.Weak()) > 0 {
			weak = append(weak, p)
		} else {
			strong = append(strong, p)
		}
	}
	for _, e := range encryptions {
		p := Proposal{Protocol: wire.ProtocolESP, Encryption: e.id, KeyBits: e.bits}
		switch {
		case e.use&forESP == 0:
		case e.aead():
			add(p)
		default:
			for _, a := range integrities {
				p.Integrity = a.id
				add(p)
			}
		}
	}
	return append(strong, weak...)
}
