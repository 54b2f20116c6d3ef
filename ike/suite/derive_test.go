package suite_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"spindle/ike/suite"
	"spindle/ike/wire"
)

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// mac256 and expand256 are the prf and prf+ of PRF_HMAC_SHA2_256 once more.
func mac256(key []byte, parts ...[]byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(slices.Concat(parts...))
	return m.Sum(nil)
}

func expand256(key, seed []byte, n int) []byte {
	var out, last []byte
	for i := byte(1); len(out) < n; i++ {
		last = mac256(key, last, seed, []byte{i})
		out = append(out, last...)
	}
	return out[:n]
}

func spis(i, r uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, i), r)
}

// RFC 9370 §2.2.2: SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr), as written there.
func TestUpdateIKE(t *testing.T) {
	p := mustIKE(t, "aes128gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024")
	ni, nr := bytes.Repeat([]byte("i"), 32), bytes.Repeat([]byte("r"), 32)
	keys, err := suite.DeriveIKE(p, []byte("SK(0)"), ni, nr, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, shared := range []string{"SK(1)", "SK(2)"} {
		seed := mac256(keys.D, []byte(shared), ni, nr)
		want := expand256(seed, slices.Concat(ni, nr, spis(1, 2)), 3*32+2*20)
		next, err := suite.UpdateIKE(p, keys, []byte(shared), ni, nr, 1, 2)
		if err != nil || !bytes.Equal(slices.Concat(next.D, next.EI, next.ER, next.PI, next.PR), want) {
			t.Fatalf("after %s: keys differ, %v", shared, err)
		}
		keys = next
	}
}

// RFC 9370 §2.2.4: a rekey and a child take all shared values at once.
func TestFollowupKE(t *testing.T) {
	p, esp := mustIKE(t, "aes128gcm16-prfsha256-x25519"), mustESP(t, "aes128gcm16")
	ni, nr := bytes.Repeat([]byte("i"), 32), bytes.Repeat([]byte("r"), 32)
	more := []suite.Secret{suite.Secret("SK(1)"), suite.Secret("SK(2)")}
	keys, err := suite.RederiveIKE(p, wire.PRFHMACSHA2256, []byte("SK_d"), []byte("SK(0)"), ni, nr, 3, 4, more...)
	if err != nil {
		t.Fatal(err)
	}
	seed := mac256([]byte("SK_d"), []byte("SK(0)"), ni, nr, more[0], more[1])
	if want := expand256(seed, slices.Concat(ni, nr, spis(3, 4)), 32); !bytes.Equal(keys.D, want) {
		t.Error("SK_d of the rekeyed IKE SA differs")
	}
	child, err := suite.DeriveChild(wire.PRFHMACSHA2256, []byte("SK_d"), esp, []byte("SK(0)"), ni, nr, more...)
	if err != nil {
		t.Fatal(err)
	}
	want := expand256([]byte("SK_d"), slices.Concat([]byte("SK(0)"), ni, nr, more[0], more[1]), 40)
	if !bytes.Equal(slices.Concat(child.Initiator, child.Responder), want) {
		t.Error("KEYMAT differs")
	}
}

// RFC 9242 §3.3.2, as written there, and its place in the signed octets.
func TestIntAuth(t *testing.T) {
	first := &suite.IKEKeys{PI: []byte("SK_pi1"), PR: []byte("SK_pr1")}
	second := &suite.IKEKeys{PI: []byte("SK_pi2"), PR: []byte("SK_pr2")}
	var a suite.IntAuth
	if a.Octets(1) != nil {
		t.Error("octets without IKE_INTERMEDIATE")
	}
	if err := a.Add(wire.PRFHMACSHA2256, first, []byte("i1"), []byte("r1")); err != nil {
		t.Fatal(err)
	}
	i1, r1 := mac256(first.PI, []byte("i1")), mac256(first.PR, []byte("r1"))
	if want := slices.Concat(i1, r1, []byte{0, 0, 0, 2}); !bytes.Equal(a.Octets(2), want) {
		t.Error("IntAuth of one exchange differs")
	}
	if err := a.Add(wire.PRFHMACSHA2256, second, []byte("i2"), []byte("r2")); err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(mac256(second.PI, i1, []byte("i2")), mac256(second.PR, r1, []byte("r2")), []byte{0, 0, 0, 3})
	if !bytes.Equal(a.Octets(3), want) {
		t.Error("IntAuth of two exchanges differs")
	}
	id := wire.Identity{Type: wire.IDKeyID, Data: []byte("id")}
	without, err := suite.SignedOctets(wire.PRFHMACSHA2256, []byte("message"), []byte("nonce"), []byte("SK_p"), id)
	if err != nil {
		t.Fatal(err)
	}
	with, err := suite.SignedOctets(wire.PRFHMACSHA2256, []byte("message"), []byte("nonce"), []byte("SK_p"), id, a.Octets(3)...)
	if err != nil || !bytes.Equal(with, slices.Concat(without, want)) {
		t.Error("IntAuth is not at the end of the signed octets", err)
	}
}

// A whole hybrid handshake by the pieces that a machine puts together: the
// keys agree after each step, and a changed IKE_INTERMEDIATE shows in AUTH.
func TestHybridHandshake(t *testing.T) {
	p := mustIKE(t, "aes256gcm16-prfsha256-x25519-ke1_mlkem768")
	rng := rand.NewChaCha8([32]byte{7})
	ni, nr := make([]byte, 32), bytes.Repeat([]byte{1}, 32)
	ke := generate(t, p.Group, rng)
	public, sharedR, err := suite.RespondKE(p.Group, ke.Public(), rng)
	if err != nil {
		t.Fatal(err)
	}
	sharedI, err := ke.Shared(public)
	if err != nil {
		t.Fatal(err)
	}
	keysI, _ := suite.DeriveIKE(p, sharedI, ni, nr, 1, 2)
	keysR, err := suite.DeriveIKE(p, sharedR, ni, nr, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	kem := generate(t, p.AdditionalKEs()[0], rng)
	ciphertext, sharedR, err := suite.RespondKE(kem.Group(), kem.Public(), rng)
	if err != nil {
		t.Fatal(err)
	}
	if sharedI, err = kem.Shared(ciphertext); err != nil {
		t.Fatal(err)
	}
	// 1,200 octets of key in datagrams of 600: fragments, opened by the responder.
	request := wire.Header{InitiatorSPI: 1, ResponderSPI: 2, Exchange: wire.ExchangeIKEIntermediate, Flags: wire.FlagInitiator, MessageID: 1}
	payloads := []wire.Payload{wire.KE{Group: kem.Group(), Data: kem.Public()}}
	sealer, _ := suite.NewProtector(p, keysI, true, rng)
	opener, err := suite.NewProtector(p, keysR, false, rng)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := wire.AppendFragments(request, payloads, sealer, 600)
	if err != nil || len(messages) != 3 {
		t.Fatalf("%d fragments, %v", len(messages), err)
	}
	var r wire.Reassembly
	var got wire.Message
	for _, b := range messages {
		if got, _, err = r.Add(b, opener); err != nil {
			t.Fatal(err)
		}
	}
	sent, err := wire.IntermediateOctets(request, payloads)
	if err != nil || !bytes.Equal(sent, got.IntermediateOctets()) {
		t.Error("both ends cover other octets", err)
	}
	var authI, authR suite.IntAuth
	if authI.Add(p.PRF, keysI, sent, []byte("response")) != nil || authR.Add(p.PRF, keysR, got.IntermediateOctets(), []byte("response")) != nil ||
		!bytes.Equal(authI.Octets(2), authR.Octets(2)) {
		t.Error("IntAuth differs")
	}
	keysI, _ = suite.UpdateIKE(p, keysI, sharedI, ni, nr, 1, 2)
	keysR, err = suite.UpdateIKE(p, keysR, sharedR, ni, nr, 1, 2)
	if err != nil || !bytes.Equal(keysI.D, keysR.D) || !bytes.Equal(keysI.ER, keysR.ER) {
		t.Error("keys differ", err)
	}
}

// RFC 8784 §3: SK_d, SK_pi and SK_pr change, the others and the originals do not.
func TestMixPPK(t *testing.T) {
	p := mustIKE(t, "aes128-sha256-ecp256")
	keys, err := suite.DeriveIKE(p, []byte("shared"), make([]byte, 32), make([]byte, 32), 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(keys.D)
	mixed, err := keys.MixPPK(p.PRF, []byte("a post-quantum preshared key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []struct{ old, new suite.Secret }{{keys.D, mixed.D}, {keys.PI, mixed.PI}, {keys.PR, mixed.PR}} {
		if !bytes.Equal(k.new, expand256([]byte("a post-quantum preshared key"), k.old, 32)) {
			t.Error("a mixed key differs")
		}
	}
	if !bytes.Equal(keys.D, before) || !bytes.Equal(mixed.EI, keys.EI) || !bytes.Equal(mixed.AR, keys.AR) {
		t.Error("a key changed that is not to change")
	}
	if _, err := keys.MixPPK(p.PRF, nil); err == nil {
		t.Error("an empty PPK is mixed")
	}
}

// V9, RFC 6290 §5.1: the token follows from the secret and the SPIs, their order included.
func TestQCDToken(t *testing.T) {
	secret := suite.Secret("of the gateway")
	token := suite.QCDToken(secret, 1, 2)
	if !bytes.Equal(token, mac256(secret, spis(1, 2))) {
		t.Errorf("token %x", token)
	}
	if !suite.VerifyQCD(token, suite.QCDToken(secret, 1, 2)) {
		t.Error("the token after a restart differs")
	}
	for name, other := range map[string]wire.QCDToken{
		"other SPIs": suite.QCDToken(secret, 2, 1), "another secret": suite.QCDToken(suite.Secret("other"), 1, 2),
		"half of it": token[:16], "nothing": nil,
	} {
		if suite.VerifyQCD(token, other) {
			t.Errorf("%s is taken", name)
		}
	}
	if suite.VerifyQCD(nil, nil) {
		t.Error("no token proves something")
	}
	if n, err := wire.ParseQCDToken(token.Notify()); err != nil || !bytes.Equal(n, token) {
		t.Errorf("token in its notification: %x, %v", n, err)
	}
}

// RFC 7296 §2.16: by the MSK, or by SK_pi or SK_pr without one.
func TestEAPAuth(t *testing.T) {
	msk, skp, octets := []byte("msk"), suite.Secret("SK_p"), []byte("octets")
	for name, c := range map[string]struct{ msk, key []byte }{"with MSK": {msk, msk}, "without": {nil, skp}} {
		got, err := suite.EAPAuth(wire.PRFHMACSHA2256, c.msk, skp, octets)
		if want := mac256(mac256(c.key, []byte("Key Pad for IKEv2")), octets); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: AUTH differs, %v", name, err)
		}
		if !suite.VerifyEAP(wire.PRFHMACSHA2256, c.msk, skp, octets, got) || suite.VerifyEAP(wire.PRFHMACSHA2256, c.msk, skp, []byte("other"), got) {
			t.Errorf("%s: verification", name)
		}
	}
	if suite.VerifyEAP(wire.PRFHMACSHA2256, msk, skp, octets, mac256(mac256(skp, []byte("Key Pad for IKEv2")), octets)) {
		t.Error("SK_p is taken though the method gave an MSK")
	}
}

// RFC 7634 Appendix B: an INFORMATIONAL request with SET_WINDOW_SIZE.
func TestRFC7634Message(t *testing.T) {
	key := make(suite.Secret, 0, 36)
	for i := range byte(32) {
		key = append(key, 0x80+i)
	}
	key = append(key, 0xa0, 0xa1, 0xa2, 0xa3)
	p := mustIKE(t, "chacha20poly1305-prfsha256-x25519")
	opener, err := suite.NewProtector(p, &suite.IKEKeys{EI: key, ER: make([]byte, 36)}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := wire.OpenEncrypted(unhex(t, "c0c1c2c3c4c5c6c7d0d1d2d3d4d5d6d72e202500000000090000004529000029"+
		"1011121314151617"+"610394701f8d017f7c12924889"+"6b71bfe25236efd7cdc67066906315b2"), opener)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := wire.FindNotify(m.Payloads, wire.NotifySetWindowSize)
	if w, err := wire.ParseWindowSize(n); !ok || err != nil || w != 10 {
		t.Errorf("%v, window %d, %v", m, w, err)
	}
}

// RFC 3686 §6, test vectors 1, 4 and 7: the counter block and the place of the
// nonce at the end of the key, under a checksum of the test's own.
func TestRFC3686Vectors(t *testing.T) {
	for keyword, v := range map[string]struct{ key, nonce, iv, ciphertext string }{
		"aes128ctr-sha256-x25519": {"ae6852f8121067cc4bf7a5765577f39e", "00000030", "0000000000000000", "e4095d4fb7a7b3792d6175a3261311b8"},
		"aes192ctr-sha256-x25519": {"16af5b145fc9f579c175f93e3bfb0eed863d06ccfdb78515", "00000048", "36733c147d6d93cb", "4b55384fe259c9c84e7935a003cbe928"},
		"aes256ctr-sha256-x25519": {"776beff2851db06f4c8a0542c8696f6c6a81af1eec96b4d37fc1d689e6c1c104", "00000060", "db5672c97aa8f0b2", "145ad01dbf824ec7560863dc71e3e0c0"},
	} {
		key, integrity := unhex(t, v.key+v.nonce), bytes.Repeat([]byte{7}, 32)
		opener, err := suite.NewProtector(mustIKE(t, keyword), &suite.IKEKeys{EI: key, ER: key, AI: integrity, AR: integrity}, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		body := unhex(t, v.iv+v.ciphertext)
		body = append(body, mac256(integrity, []byte("aad"), body)[:16]...)
		plaintext, err := opener.Open([]byte("aad"), body)
		if err != nil || string(plaintext) != "Single block msg" {
			t.Errorf("%s: %q, %v", keyword, plaintext, err)
		}
	}
}
