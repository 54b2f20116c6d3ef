package suite_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

func proposals(t *testing.T, parse func(*testing.T, string) suite.Proposal, keywords string) []suite.Proposal {
	t.Helper()
	var list []suite.Proposal
	for _, k := range strings.Fields(keywords) {
		list = append(list, parse(t, k))
	}
	return list
}

// many is an offer in one proposal, as most peers make it: every transform of
// every keyword.
func many(list []suite.Proposal) wire.Proposal {
	w := wire.Proposal{Number: 1, Protocol: list[0].Protocol}
	for _, p := range list {
		w.Transforms = append(w.Transforms, p.Wire(1, nil).Transforms...)
	}
	return w
}

// RFC 7296 §2.7: one of the offered proposals is chosen whole; ours is the order.
func TestSelectIKE(t *testing.T) {
	for name, c := range map[string]struct {
		ours, theirs, chosen string
		number               uint8
	}{
		"the same":              {"aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha256-x25519", "aes128gcm16-prfsha256-x25519", 1},
		"their second":          {"aes128-sha256-ecp256", "aes256gcm16-prfsha384-ecp384 aes128-sha256-ecp256", "aes128-sha256-ecp256", 2},
		"our order, not theirs": {"aes256-sha256-ecp256 aes128-sha256-ecp256", "aes128-sha256-ecp256 aes256-sha256-ecp256", "aes256-sha256-ecp256", 2},
	} {
		offer := suite.Offer(proposals(t, mustIKE, c.theirs), nil)
		p, from, err := suite.Select(proposals(t, mustIKE, c.ours), offer.Proposals)
		if err != nil || p.String() != c.chosen || from.Number != c.number {
			t.Errorf("%s: %v from %d, %v", name, p, from.Number, err)
			continue
		}
		answer := suite.Answer(p, from, nil)
		confirmed, _, err := suite.Confirm(proposals(t, mustIKE, c.theirs), answer)
		if err != nil || confirmed != p {
			t.Errorf("%s: confirmed %v, %v", name, confirmed, err)
		}
	}
}

func TestSelectFromManyTransforms(t *testing.T) {
	theirs := many(proposals(t, mustIKE, "aes128-sha256-ecp256 aes256-sha512-modp2048"))
	p, from, err := suite.Select(proposals(t, mustIKE, "aes256-sha256-prfsha512-modp2048"), []wire.Proposal{theirs})
	if err != nil {
		t.Fatal(err)
	}
	answer := suite.Answer(p, from, nil)
	if n := len(answer.Proposals[0].Transforms); n != 4 {
		t.Errorf("answer has %d transforms: %s", n, suite.Describe(answer.Proposals[0]))
	}
	if got := suite.Describe(answer.Proposals[0]); got != "aes256-prfsha512-sha256-modp2048" {
		t.Errorf("answer is %s", got)
	}
}

// RFC 7296 §3.3.6: an unknown transform type or a missing one spoils its
// proposal, an unknown transform or attribute only itself; the others are
// processed as usual.
func TestSelectUnknown(t *testing.T) {
	ours := proposals(t, mustESP, "aes256gcm16")
	good := suite.Offer(ours, []byte("spi!")).Proposals[0]
	change := func(f func(*wire.Proposal)) wire.Proposal {
		w := good
		w.Number = 7
		w.Transforms = slices.Clone(w.Transforms)
		f(&w)
		return w
	}
	add := func(ts ...wire.Transform) wire.Proposal {
		return change(func(w *wire.Proposal) { w.Transforms = append(w.Transforms, ts...) })
	}
	for name, c := range map[string]struct {
		w  wire.Proposal
		ok bool
	}{
		"unknown transform type":     {add(wire.Transform{Type: 99, ID: 1}), false},
		"additional key exchange":    {add(wire.Transform{Type: wire.TransformADDKE1, ID: uint16(wire.GroupMLKEM768)}), false},
		"a prf in ESP":               {add(wire.Transform{Type: wire.TransformPRF, ID: uint16(wire.PRFHMACSHA2256)}), false},
		"no esn transform":           {change(func(w *wire.Proposal) { w.Transforms = w.Transforms[:1] }), false},
		"esn offered as well":        {add(wire.Transform{Type: wire.TransformESN, ID: wire.ESNYes}), true},
		"integrity none said aloud":  {add(wire.Transform{Type: wire.TransformIntegrity}), true},
		"integrity as well":          {add(wire.Transform{Type: wire.TransformIntegrity, ID: uint16(wire.IntegrityHMACSHA2256128)}), false},
		"group as well":              {add(wire.Transform{Type: wire.TransformKE, ID: uint16(wire.GroupECP256)}), false},
		"group or none":              {add(wire.Transform{Type: wire.TransformKE, ID: uint16(wire.GroupECP256)}, wire.Transform{Type: wire.TransformKE}), true},
		"unknown encryption as well": {add(wire.Transform{Type: wire.TransformEncryption, ID: 999}), true},
		"unknown attribute": {change(func(w *wire.Proposal) {
			w.Transforms[0].Attributes = append(slices.Clone(w.Transforms[0].Attributes), wire.Attribute{Type: 17, Short: true, Value: []byte{0, 1}})
		}), false},
		"no key length":  {change(func(w *wire.Proposal) { w.Transforms[0].Attributes = nil }), false},
		"another length": {change(func(w *wire.Proposal) { w.Transforms[0].Attributes = []wire.Attribute{wire.KeyLength(128)} }), false},
		"AH":             {change(func(w *wire.Proposal) { w.Protocol = wire.ProtocolAH }), false},
		"no transform":   {change(func(w *wire.Proposal) { w.Transforms = nil }), false},
	} {
		if _, _, err := suite.Select(ours, []wire.Proposal{c.w}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if _, from, err := suite.Select(ours, []wire.Proposal{c.w, good}); err != nil || !c.ok && from.Number != 1 {
			t.Errorf("%s before a good one: from %d, %v", name, from.Number, err)
		}
	}
}

func TestMismatchSaysWhatDiffers(t *testing.T) {
	weak := wire.Proposal{Number: 1, Protocol: wire.ProtocolIKE, Transforms: []wire.Transform{
		{Type: wire.TransformEncryption, ID: uint16(wire.Encryption3DES)}, {Type: wire.TransformEncryption, ID: uint16(wire.EncryptionCamelliaCBC), Attributes: []wire.Attribute{wire.KeyLength(256)}},
		{Type: wire.TransformIntegrity, ID: uint16(wire.IntegrityHMACMD596)}, {Type: wire.TransformPRF, ID: uint16(wire.PRFHMACSHA1)},
		{Type: wire.TransformKE, ID: uint16(wire.GroupMODP1024)}, {Type: 77, ID: 3}}}
	for _, c := range []struct {
		ours   string
		theirs []wire.Proposal
		want   string
	}{
		{"aes256gcm16-prfsha384-ecp384 aes128-sha256-ecp256", suite.Offer(proposals(t, mustIKE, "aes128-sha256-modp2048"), nil).Proposals,
			"no common proposal, first difference in key exchange: peer offered aes128-prfsha256-sha256-modp2048; we accept aes256gcm16-prfsha384-ecp384, aes128-sha256-ecp256"},
		{"aes128-sha256-ecp256", []wire.Proposal{weak},
			"no common proposal, first difference in encryption: peer offered 3des-camellia/256-md5-prfsha1-modp1024-transform(77)(3); we accept aes128-sha256-ecp256"},
		{"aes128-sha256-ecp256", nil, "no common proposal, first difference in proposal: peer offered ; we accept aes128-sha256-ecp256"},
	} {
		_, _, err := suite.Select(proposals(t, mustIKE, c.ours), c.theirs)
		var m *suite.Mismatch
		if !errors.As(err, &m) || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// RFC 7296 §3.3.6: the initiator checks that the answer is one of its own offer.
func TestConfirmRefuses(t *testing.T) {
	ours := proposals(t, mustIKE, "aes256gcm16-prfsha384-ecp384 aes128-sha256-ecp256")
	second := ours[1].Wire(2, nil)
	twice := second
	twice.Transforms = append(slices.Clone(second.Transforms), second.Transforms[0])
	for name, answer := range map[string][]wire.Proposal{
		"number of proposals":      {ours[0].Wire(1, nil), second},
		"proposal number":          {ours[1].Wire(3, nil)},
		"encryption":               {ours[1].Wire(1, nil)},
		"protocol":                 {{Number: 1, Protocol: wire.ProtocolESP}},
		"more than one encryption": {twice},
	} {
		_, _, err := suite.Confirm(ours, wire.SA{Proposals: answer})
		var m *suite.Mismatch
		if !errors.As(err, &m) || m.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p, _, err := suite.Confirm(ours, wire.SA{Proposals: []wire.Proposal{second}}); err != nil || p != ours[1] {
		t.Errorf("good answer: %v, %v", p, err)
	}
}

// RFC 9370 §2.2.1: additional key exchanges are negotiated like any transform,
// and a peer that knows none of them finds the classical fall-back.
func TestSelectAdditional(t *testing.T) {
	const hybrid, classical = "aes256gcm16-prfsha384-x25519-ke1_mlkem768", "aes256gcm16-prfsha384-x25519"
	for name, c := range map[string]struct {
		ours, theirs []suite.Proposal
		chosen       string
		number       uint8
	}{
		"both hybrid":           {suite.WithFallback(proposals(t, mustIKE, hybrid)), suite.WithFallback(proposals(t, mustIKE, hybrid)), hybrid, 1},
		"old initiator":         {suite.WithFallback(proposals(t, mustIKE, hybrid)), proposals(t, mustIKE, classical), classical, 1},
		"old responder":         {proposals(t, mustIKE, classical), suite.WithFallback(proposals(t, mustIKE, hybrid)), classical, 2},
		"hybrid or nothing":     {proposals(t, mustIKE, hybrid), proposals(t, mustIKE, classical), "", 0},
		"another one":           {proposals(t, mustIKE, hybrid), proposals(t, mustIKE, "aes256gcm16-prfsha384-x25519-ke1_mlkem1024"), "", 0},
		"another place":         {proposals(t, mustIKE, hybrid), proposals(t, mustIKE, "aes256gcm16-prfsha384-x25519-ke2_mlkem768"), "", 0},
		"one more than we take": {proposals(t, mustIKE, hybrid), proposals(t, mustIKE, hybrid+"-ke2_mlkem1024"), "", 0},
	} {
		offer := suite.Offer(c.theirs, nil)
		p, from, err := suite.Select(c.ours, offer.Proposals)
		if c.chosen == "" {
			var m *suite.Mismatch
			if !errors.As(err, &m) || !strings.HasPrefix(m.Field, "additional key exchange ") {
				t.Errorf("%s: %v, %v", name, p, err)
			}
			continue
		}
		if err != nil || p.String() != c.chosen || from.Number != c.number {
			t.Errorf("%s: %v from %d, %v", name, p, from.Number, err)
			continue
		}
		if confirmed, _, err := suite.Confirm(c.theirs, suite.Answer(p, from, nil)); err != nil || confirmed != p {
			t.Errorf("%s: confirmed %v, %v", name, confirmed, err)
		}
	}
}

// A peer may offer to do without in the same proposal, by the method NONE, and
// is then told so (RFC 9370 §2.2.1).
func TestSelectAdditionalNone(t *testing.T) {
	ours := proposals(t, mustIKE, "aes128gcm16-prfsha256-x25519")
	w := mustIKE(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768").Wire(1, nil)
	if _, _, err := suite.Select(ours, []wire.Proposal{w}); err == nil {
		t.Error("an additional key exchange without choice is skipped")
	}
	w.Transforms = append(w.Transforms, wire.Transform{Type: wire.TransformADDKE1})
	p, from, err := suite.Select(ours, []wire.Proposal{w})
	if err != nil || p != ours[0] {
		t.Fatal(p, err)
	}
	if got := suite.Describe(suite.Answer(p, from, nil).Proposals[0]); got != "aes128gcm16-prfsha256-x25519-ke1_none" {
		t.Errorf("answer is %s", got)
	}
}

func TestInvalidKE(t *testing.T) {
	n := suite.InvalidKE(wire.GroupECP384)
	if g, err := suite.InvalidKEGroup(n); err != nil || g != wire.GroupECP384 || n.Type != wire.NotifyInvalidKEPayload {
		t.Errorf("%+v is %v, %v", n, g, err)
	}
	if _, err := suite.InvalidKEGroup(wire.Notify{Type: wire.NotifyInvalidKEPayload, Data: []byte{19}}); err == nil {
		t.Error("one octet is no group")
	}
}
