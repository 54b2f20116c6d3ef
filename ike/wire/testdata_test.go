package wire_test

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"spindle/ike/wire"
)

// compareAddr lets go-cmp compare addresses, which have no exported fields.
var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// sample is one line of testdata: a word and octets.
type sample struct {
	word  string
	bytes []byte
}

func samples(t testing.TB, file string) []sample {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []sample
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, data, ok := strings.Cut(lines.Text(), " ")
		if !ok || word == "#" {
			continue
		}
		b, err := hex.DecodeString(data)
		if err != nil {
			t.Fatalf("%s: %s: %v", file, word, err)
		}
		list = append(list, sample{word, b})
	}
	if len(list) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return list
}

func messages(t testing.TB) []sample { return samples(t, "testdata/messages.txt") }

// chains are what stood inside Encrypted payloads, by the type of the first one.
func chains(t testing.TB) []sample { return samples(t, "testdata/payloads.txt") }

func (s sample) first(t testing.TB) wire.PayloadType {
	n, err := strconv.ParseUint(s.word, 10, 8)
	if err != nil {
		t.Fatal(err)
	}
	return wire.PayloadType(n)
}
