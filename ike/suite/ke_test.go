package suite_test

import (
	"bytes"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

var allGroups = []wire.Group{wire.GroupX25519, wire.GroupECP256, wire.GroupECP384, wire.GroupECP521,
	wire.GroupMODP2048, wire.GroupMODP3072, wire.GroupMODP4096, wire.GroupMODP6144, wire.GroupMODP8192,
	wire.GroupMODP768, wire.GroupMODP1024, wire.GroupMODP1536, wire.GroupX448}

func generate(t *testing.T, g wire.Group, rand io.Reader) suite.KE {
	t.Helper()
	ke, err := suite.GenerateKE(g, rand)
	if err != nil {
		t.Fatal(err)
	}
	return ke
}

// vector is a published exchange: private values, public values, result.
type vector struct {
	group               wire.Group
	i, r, gi, gr, girgr string
}

// From RFC 5903 §8.1 to §8.3, RFC 7748 §6.1 and §6.2.
var vectors = []vector{
	{wire.GroupECP256, "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
		"c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
		"dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180" +
			"5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
		"d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63" +
			"56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
		"d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"},
	{wire.GroupECP384, "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
		"41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
		"667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa" +
			"9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
		"e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571" +
			"dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
		"11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746"},
	{wire.GroupECP521, "0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a095aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52",
		"0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e9c677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9",
		"0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbee1e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e" +
			"017cae20b6641d2eeb695786d8c946146239d099e18e1d5a514c739d7cb4a10ad8a788015ac405d7799dc75e7b7d5b6cf2261a6a7f1507438bf01beb6ca3926f9582",
		"00d0b3975ac4b799f5bea16d5e13e9af971d5e9b984c9f39728b5e5739735a219b97c356436adc6e95bb0352f6be64a6c2912d4ef2d0433ced2b6171640012d9460f" +
			"015c68226383956e3bd066e797b623c27ce0eac2f551a10c2c724d9852077b87220b6536c5c408a1d2aebb8e86d678ae49cb57091f4732296579ab44fcd17f0fc56a",
		"01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04d1427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea"},
	{wire.GroupX25519, "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
		"5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
		"8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
		"4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"},
	{wire.GroupX448, "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
		"1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
		"9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0",
		"3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b43027d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
		"07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"},
}

func TestPublishedExchanges(t *testing.T) {
	for _, v := range vectors {
		i := generate(t, v.group, bytes.NewReader(unhex(t, v.i)))
		r := generate(t, v.group, bytes.NewReader(unhex(t, v.r)))
		if !bytes.Equal(i.Public(), unhex(t, v.gi)) || !bytes.Equal(r.Public(), unhex(t, v.gr)) {
			t.Errorf("%v: public values differ", v.group)
		}
		for _, side := range []struct{ ours, theirs suite.KE }{{i, r}, {r, i}} {
			shared, err := side.ours.Shared(side.theirs.Public())
			if err != nil || !bytes.Equal(shared, unhex(t, v.girgr)) {
				t.Errorf("%v: shared value differs, %v", v.group, err)
			}
		}
	}
}

// Both sides agree in every group, and the same randomness gives the same values.
func TestExchangesAgreeAndRepeat(t *testing.T) {
	for _, g := range allGroups {
		seed := [32]byte{byte(g)}
		i, again := generate(t, g, rand.NewChaCha8(seed)), generate(t, g, rand.NewChaCha8(seed))
		r := generate(t, g, rand.NewChaCha8([32]byte{0xff, byte(g)}))
		if i.Group() != g || !bytes.Equal(i.Public(), again.Public()) {
			t.Errorf("%v: not reproducible", g)
		}
		if bytes.Equal(i.Public(), r.Public()) {
			t.Errorf("%v: other randomness, same value", g)
		}
		a, err := i.Shared(r.Public())
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Shared(i.Public())
		if err != nil || !bytes.Equal(a, b) || len(a) == 0 {
			t.Errorf("%v: no agreement, %v", g, err)
		}
	}
}

// rfc3526 computes a prime by the formula of the RFC, with pi by Machin.
func rfc3526(n uint, c int64) *big.Int {
	one := big.NewInt(1)
	pow := func(k uint) *big.Int { return new(big.Int).Lsh(one, k) }
	p := new(big.Int).Rsh(piScaled(n-130+64), 64)
	p.Add(p, big.NewInt(c)).Lsh(p, 64)
	return p.Add(p, pow(n)).Sub(p, pow(n-64)).Sub(p, one)
}

// piScaled is 2^bits pi, a few units at most too small.
func piScaled(bits uint) *big.Int {
	arctan := func(x int64) *big.Int {
		sum := new(big.Int)
		term := new(big.Int).Lsh(big.NewInt(1), bits)
		term.Quo(term, big.NewInt(x))
		for n := int64(1); term.Sign() != 0; n += 2 {
			sum.Add(sum, new(big.Int).Quo(term, big.NewInt(n)))
			term.Quo(term, big.NewInt(-x*x))
		}
		return sum
	}
	pi := new(big.Int).Mul(big.NewInt(4), arctan(5))
	return pi.Sub(pi, arctan(239)).Mul(pi, big.NewInt(4))
}

var modpGroups = []struct {
	group wire.Group
	bits  uint
	c     int64 // of RFC 2409 §6.1, §6.2 and RFC 3526 §2 to §7
}{{wire.GroupMODP768, 768, 149686}, {wire.GroupMODP1024, 1024, 129093}, {wire.GroupMODP1536, 1536, 741804},
	{wire.GroupMODP6144, 6144, 929484}, {wire.GroupMODP8192, 8192, 4743158}, {wire.GroupMODP2048, 2048, 124476}, {wire.GroupMODP3072, 3072, 1690314}, {wire.GroupMODP4096, 4096, 240904}}

// The constant-time exponentiation is checked against math/big over the prime
// that the RFC's formula gives, which so is checked as well.
func TestMODPAgainstTheFormula(t *testing.T) {
	for _, m := range modpGroups {
		p := rfc3526(m.bits, m.c)
		if !p.ProbablyPrime(1) {
			t.Fatalf("the formula for %v gives no prime", m.group)
		}
		exponent := make([]byte, 64)
		if m.bits > 4096 {
			exponent = make([]byte, 80)
		}
		rand.NewChaCha8([32]byte{1}).Read(exponent)
		ke := generate(t, m.group, bytes.NewReader(exponent))
		exponent[0] |= 0x80
		x := new(big.Int).SetBytes(exponent)
		public := new(big.Int).Exp(big.NewInt(2), x, p)
		if !bytes.Equal(ke.Public(), public.FillBytes(make([]byte, m.bits/8))) {
			t.Errorf("%v: public value differs", m.group)
		}
		peer := new(big.Int).Exp(big.NewInt(2), big.NewInt(1000003), p)
		shared, err := ke.Shared(peer.FillBytes(make([]byte, m.bits/8)))
		if want := peer.Exp(peer, x, p).FillBytes(make([]byte, m.bits/8)); err != nil || !bytes.Equal(shared, want) {
			t.Errorf("%v: shared value differs, %v", m.group, err)
		}
	}
}

// RFC 6989 §2.1: for groups over a safe prime, 1 < y < p-1. RFC 7296 §3.4: as
// long as the prime.
func TestMODPRefusals(t *testing.T) {
	for _, m := range modpGroups {
		p := rfc3526(m.bits, m.c)
		ke := generate(t, m.group, rand.NewChaCha8([32]byte{1}))
		size := int(m.bits / 8)
		for name, y := range map[string]*big.Int{
			"0": new(big.Int), "1": big.NewInt(1), "p-1": new(big.Int).Sub(p, big.NewInt(1)), "p": p,
			"p+1": new(big.Int).Add(p, big.NewInt(1)),
		} {
			if _, err := ke.Shared(y.FillBytes(make([]byte, size))); err == nil {
				t.Errorf("%v accepts %s", m.group, name)
			}
		}
		for _, n := range []int{0, 1, size - 1, size + 1} {
			if _, err := ke.Shared(slices.Repeat([]byte{2}, n)); err == nil {
				t.Errorf("%v accepts %d octets", m.group, n)
			}
		}
		two := new(big.Int).FillBytes(make([]byte, size))
		two[size-1] = 2
		if _, err := ke.Shared(two); err != nil {
			t.Errorf("%v refuses 2: %v", m.group, err)
		}
	}
}

// RFC 6989 §2.3: a point is on the curve. RFC 8031 §3.1: the zero of x25519 and x448 is refused.
func TestCurveRefusals(t *testing.T) {
	for _, g := range []wire.Group{wire.GroupECP256, wire.GroupECP384, wire.GroupECP521} {
		ke := generate(t, g, rand.NewChaCha8([32]byte{1}))
		good := generate(t, g, rand.NewChaCha8([32]byte{2})).Public()
		off := bytes.Clone(good)
		off[len(off)-1] ^= 1
		for name, peer := range map[string][]byte{
			"a point off the curve": off, "the x coordinate alone": good[:len(good)/2], "nothing": {},
			"zeros": make([]byte, len(good)), "one octet more": append(bytes.Clone(good), 0),
			"the marker of SEC 1": append([]byte{4}, good...),
		} {
			if _, err := ke.Shared(peer); err == nil {
				t.Errorf("%v accepts %s", g, name)
			}
		}
	}
	ke := generate(t, wire.GroupX25519, rand.NewChaCha8([32]byte{1}))
	one := make([]byte, 32)
	one[0] = 1
	for _, peer := range [][]byte{make([]byte, 32), one, make([]byte, 31), make([]byte, 33), nil} {
		if _, err := ke.Shared(peer); err == nil {
			t.Errorf("x25519 accepts %x", peer)
		}
	}
	ke = generate(t, wire.GroupX448, rand.NewChaCha8([32]byte{1}))
	for _, peer := range [][]byte{make([]byte, 56), append(one[:1:1], make([]byte, 55)...), make([]byte, 55), make([]byte, 57), nil} {
		if _, err := ke.Shared(peer); err == nil {
			t.Errorf("x448 accepts %x", peer)
		}
	}
}

func TestGenerateKEErrors(t *testing.T) {
	for _, g := range []wire.Group{wire.GroupNone, wire.GroupECP192, wire.GroupMODP2048S256, wire.GroupMLKEM512} {
		if _, err := suite.GenerateKE(g, rand.NewChaCha8([32]byte{})); err == nil {
			t.Errorf("%v is supported", g)
		}
	}
	for _, g := range allGroups {
		if _, err := suite.GenerateKE(g, bytes.NewReader(make([]byte, 16))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v with too little randomness: %v", g, err)
		}
	}
	// All ones is above the order of the curve: another scalar is drawn.
	ones := io.MultiReader(bytes.NewReader(slices.Repeat([]byte{0xff}, 32)), rand.NewChaCha8([32]byte{1}))
	generate(t, wire.GroupECP256, ones)
	if _, err := suite.GenerateKE(wire.GroupECP256, bytes.NewReader(make([]byte, 4096))); err == nil {
		t.Error("randomness of zeros")
	}
}
