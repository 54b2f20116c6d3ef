package session_test

import (
	"strings"
	"testing"

	"spindle/ike/session"
)

// TestDN: RFC 5280 §7.1, names are the same whatever their case and white space;
// not if an attribute is missing or stands elsewhere.
func TestDN(t *testing.T) {
	parse := func(text string) session.Identity {
		id, err := session.ParseDN(text)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a := parse("C=CH, O=Spindle\\, Inc., CN=r8")
	if got := a.String(); got != `C=CH, O=Spindle\, Inc., CN=r8` {
		t.Errorf("prints as %s", got)
	}
	for text, same := range map[string]bool{
		"c=ch,o=SPINDLE\\,  inc.,cn=R8":     true,
		"C=CH, O=Spindle\\, Inc.":           false,
		"CN=r8, O=Spindle\\, Inc., C=CH":    false,
		"C=CH, OU=Spindle\\, Inc., CN=r8":   false,
		"C=CH, O=Spindle\\, Inc., CN=r8ä":   false,
		"C=CH, O=Spindle\\, Inc., CN=r 8":   false,
		" C = CH , O=Spindle\\, Inc.,CN=r8": true,
	} {
		if a.Equal(parse(text)) != same {
			t.Errorf("%s: same is not %v", text, same)
		}
	}
	if !strings.Contains(parse("CN=a\nb").String(), "CN=610a62") {
		t.Errorf("a line end gets into the log: %s", parse("CN=a\nb"))
	}
	for _, text := range []string{"", "CN", "CN=", "X=1"} {
		if _, err := session.ParseDN(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	garbage := session.Identity{Type: session.IDDN, Data: []byte{0x30, 0x80, 1}}
	if garbage.Equal(garbage) || !strings.HasPrefix(garbage.String(), "type9:") {
		t.Errorf("garbage: %v", garbage)
	}
}
