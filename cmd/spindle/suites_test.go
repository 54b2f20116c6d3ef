package main_test

import (
	"testing"

	"spindle/datapath/esp"
	"spindle/ike/suite"
)

// What IKE negotiates for ESP the data path can do, under the same word and
// with as many octets of KEYMAT: neither room may import the other, so they meet here.
func TestSuitesAgree(t *testing.T) {
	negotiated := map[string]bool{}
	for _, p := range suite.ESPSuites() {
		negotiated[p.Suite()] = true
		n, err := p.KeymatLen()
		if err != nil {
			t.Fatal(err)
		}
		s, ok := esp.Find(p.Suite())
		if !ok || s.KeyLen != n {
			t.Errorf("%s takes %d octets of KEYMAT; in the data path %d, known %v", p.Suite(), n, s.KeyLen, ok)
		}
	}
	for _, s := range esp.Suites() {
		if !negotiated[s.Keyword] {
			t.Errorf("%s cannot be negotiated", s.Keyword)
		}
	}
}
