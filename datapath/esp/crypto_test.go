package esp_test

import (
	"net/netip"
	"strings"
	"testing"

	"spindle/datapath/esp"
	"spindle/datapath/esp/gcm"
	"spindle/datapath/packet"
	"spindle/sadb"
)

// std, behind the keyword of a suite, has a test run it by the standard library
// where package gcm would be taken: "aes128gcm16 std". Without it a test runs
// what this processor can do best.
const std = " std"

// suites are those of Find, and once more those that have two implementations.
func suites() []esp.Suite {
	list := esp.Suites()
	for _, s := range esp.Suites() {
		if strings.HasSuffix(s.Keyword, "gcm16") {
			s.Keyword += std
			list = append(list, s)
		}
	}
	return list
}

// implementation takes the word off again, and returns what it stands for. When
// the test ends, every key must have been wiped.
func implementation(t testing.TB, suite string) (string, *esp.Crypto) {
	t.Helper()
	keyword, standard := strings.CutSuffix(suite, std)
	choice := "auto"
	if standard {
		choice = "std"
	}
	c, err := esp.NewCrypto(choice)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return keyword, c
}

func TestCryptoIsWhatWasAskedFor(t *testing.T) {
	best, fault := gcm.Best()
	if fault != nil {
		t.Error(fault)
	}
	kernel := best.String()
	if best == 0 {
		kernel = esp.StandardLibrary
	}
	type choice struct {
		choice, want string
		refused      bool
	}
	cases := []choice{
		{"std", esp.StandardLibrary, false},
		{"auto", kernel, false},
		{"", kernel, false},
		{"vaes", kernel, best == 0},
		{"fast", "", true},
	}
	for _, v := range gcm.Variants() {
		cases = append(cases, choice{v.String(), v.String(), v.Check() != nil})
	}
	for _, c := range cases {
		got, err := esp.NewCrypto(c.choice)
		if (err != nil) != c.refused {
			t.Fatalf("%q: %v", c.choice, err)
		}
		if err == nil && (got.String() != c.want || got.Faulty() != nil) {
			t.Errorf("%q: %v, %v", c.choice, got, got.Faulty())
		}
	}
	if none := (*esp.Crypto)(nil); none.String() != esp.StandardLibrary || none.Keys() != 0 || none.Close() != nil || none.Faulty() != nil {
		t.Error("without a Crypto it is not the standard library")
	}
}

// A key is held as long as its SA, and by no SA that was refused.
func TestKeysAreCounted(t *testing.T) {
	_, c := implementation(t, "aes128gcm16")
	if c.String() == esp.StandardLibrary {
		t.Skip("this processor runs no kernel")
	}
	sa := newSA("aes256gcm16")
	out, err := c.NewOutbound(&sa)
	if err != nil {
		t.Fatal(err)
	}
	peer := sa.Remote
	sa.Remote = netip.AddrPort{}
	if _, err := c.NewOutbound(&sa); err == nil {
		t.Fatal("an SA without a peer was accepted")
	}
	sa.Direction, sa.Remote = sadb.Inbound, peer
	in, err := c.NewInbound(&sa)
	if err != nil {
		t.Fatal(err)
	}
	if c.Keys() != 2 {
		t.Errorf("%d keys, want 2", c.Keys())
	}
	if err := c.Close(); err == nil {
		t.Error("closed with keys in use")
	}
	out.Wipe()
	in.Wipe()
	in.Wipe()
	if c.Keys() != 0 {
		t.Errorf("%d keys after Wipe", c.Keys())
	}
}

// Both implementations make the same packets, byte by byte, whatever the length.
func TestImplementationsAgree(t *testing.T) {
	for _, suite := range []string{"aes128gcm16", "aes192gcm16", "aes256gcm16"} {
		for _, esn := range []bool{false, true} {
			with := func(sa *sadb.SA) { sa.ESN, sa.Sequence = esn, 77 }
			fast, slow := newPair(t, suite, with), newPair(t, suite+std, with)
			for n := 28; n < 600; n++ {
				clear := inner(false, n, 0)
				a, b := fast.seal(t, clear), slow.seal(t, clear)
				if string(a) != string(b) {
					t.Fatalf("%s, %d bytes, esn %v:\n%x\n%x", suite, n, esn, a, b)
				}
				body, _ := espOf(t, b)
				if got, v := fast.open(body, 0); v != packet.Pass || string(got) != string(clear) {
					t.Fatalf("%s, %d bytes: %v", suite, n, v)
				}
			}
		}
	}
}
