package bench_test

import (
	"encoding/json"
	"testing"

	"spindle/bench"
)

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bench.Size
		json string
		ok   bool
	}{
		{"64", 64, "64", true}, {"1400", 1400, "1400", true}, {"imix", bench.IMIX, `"imix"`, true},
		{"63", 0, "", false}, {"1401", 0, "", false}, {"", 0, "", false}, {"0", 0, "", false}, {"IMIX", 0, "", false},
	} {
		got, err := bench.ParseSize(c.in)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("ParseSize(%q) = %v, %v", c.in, got, err)
		}
		if !c.ok {
			continue
		}
		if raw, err := json.Marshal(got); err != nil || string(raw) != c.json {
			t.Errorf("%v in JSON is %s, %v", got, raw, err)
		}
	}
}
