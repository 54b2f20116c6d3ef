package sadb_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"spindle/sadb"
)

func TestParseSelector(t *testing.T) {
	for _, text := range []string{
		"10.6.6.6/32", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/64", "10.0.0.1-10.0.0.9", "fd00::1-fd00::5",
		"10.0.0.0/24[tcp]", "10.0.0.0/24[tcp/443]", "10.0.0.0/24[udp/5000-5010]", "10.0.0.0/24[gre]", "10.0.0.0/24[89]",
		"10.0.0.0/24[icmp/8]", "10.0.0.0/24[icmp/3.4]", "fd00::/64[icmpv6/128]", "10.0.0.0/8[udp/opaque]", "10.0.0.1-10.0.0.9[tcp/1-65535]",
		"10.0.0.0/24[icmp/3.0-3.4]",
	} {
		s, err := sadb.ParseSelector(text)
		if err != nil || s.String() != text || !s.IsValid() {
			t.Errorf("%s: read as %v, %v", text, s, err)
		}
	}
	for text, want := range map[string]string{"10.6.6.6": "10.6.6.6/32", "10.0.0.0-10.0.0.255": "10.0.0.0/24", "10.0.0.0/24[any]": "10.0.0.0/24", "10.0.0.0/24[6/80]": "10.0.0.0/24[tcp/80]"} {
		if s, err := sadb.ParseSelector(text); err != nil || s.String() != want {
			t.Errorf("%s: read as %v, %v, want %s", text, s, err, want)
		}
	}
}

func TestParseSelectorRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "is not a prefix",
		"10.0.0.1/24":            "did you mean 10.0.0.0/24?",
		"::ffff:10.0.0.0/120":    "did you mean 10.0.0.0/24?",
		"10.0.0.9-10.0.0.1":      "did you mean 10.0.0.1-10.0.0.9?",
		"10.0.0.9-fd00::1":       "different families",
		"10.0.0.9-":              "is not a range",
		"10.0.0.0/24[tcp/443":    "closing bracket",
		"10.0.0.0/24[tpc/443]":   `"tpc" is no protocol`,
		"10.0.0.0/24[0]":         "is no protocol",
		"10.0.0.0/24[256]":       "is no protocol",
		"10.0.0.0/24[gre/1]":     "gre has no ports: write [gre]",
		"10.0.0.0/24[any/443]":   "any has no ports",
		"10.0.0.0/24[tcp/65536]": `"65536" is not a port`,
		"10.0.0.0/24[tcp/9-8]":   `"9-8" is not a port`,
		"10.0.0.0/24[tcp/]":      `"" is not a port`,
		"10.0.0.0/24[icmp/256]":  `"256" is not a type`,
	} {
		if s, err := sadb.ParseSelector(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: read as %v, %v, want %q", text, s, err, want)
		}
	}
}

// TestParseSelectorReadsWhatItPrints, for every selector that a file can hold.
func TestParseSelectorReadsWhatItPrints(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{"10.0.0.0/24", "10.1.2.3-10.4.5.6", "fd00::/9", "fd00::1-fd00::2"}).Draw(t, "addresses") +
			rapid.SampledFrom([]string{"", "[tcp]", "[udp/53]", "[sctp/1-9]", "[icmp/8]", "[icmpv6/1.2]", "[tcp/opaque]", "[200]"}).Draw(t, "protocol")
		s, err := sadb.ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := sadb.ParseSelector(s.String()); err != nil || again != s {
			t.Fatalf("%s prints as %s, which reads as %v, %v", text, s, again, err)
		}
	})
}
