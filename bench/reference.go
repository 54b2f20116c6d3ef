package bench

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"spindle/datapath/esp"
)

// newReference is what a suite's algorithms cost by themselves for n bytes of
// payload, as the standard library or x/crypto has them. It is nil for a suite
// that is neither AEAD nor AES-CBC with HMAC.
func newReference(suite esp.Suite, n int, op string) (func() error, error) {
	key := keyOf(0, suite.KeyLen)
	switch name := suite.Keyword; {
	case strings.Contains(name, "gcm16"):
		block, err := aes.NewCipher(key[:suite.KeyLen-4])
		if err != nil {
			return nil, err
		}
		aead, err := cipher.NewGCM(block)
		return aeadReference(aead, n, op), err
	case strings.HasPrefix(name, "chacha20poly1305"):
		aead, err := chacha20poly1305.New(key[:chacha20poly1305.KeySize])
		return aeadReference(aead, n, op), err
	case suite.IVLen == aes.BlockSize && strings.Contains(name, "-sha"):
		return cbcReference(suite, key, n, op)
	}
	return nil, nil
}

// aeadReference has the 8 bytes of associated data of ESP, and its 2 of trailer.
func aeadReference(aead cipher.AEAD, n int, op string) func() error {
	n += trailer(n, 4)
	nonce, ad := make([]byte, aead.NonceSize()), make([]byte, 8)
	plain := make([]byte, n, n+aead.Overhead())
	if op == "seal" {
		return func() error { aead.Seal(plain[:0], nonce, plain, ad); return nil }
	}
	sealed := aead.Seal(nil, nonce, plain, ad)
	return func() error {
		_, err := aead.Open(plain[:0], nonce, sealed, ad)
		return err
	}
}

// trailer is padding, pad length and next header (RFC 4303 §2.4).
func trailer(n, align int) int { return -(n+2)&(align-1) + 2 }

func cbcReference(suite esp.Suite, key []byte, n int, op string) (func() error, error) {
	hashes := map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New}
	_, name, _ := strings.Cut(suite.Keyword, "-")
	h := hashes[name]
	if h == nil {
		return nil, nil
	}
	block, err := aes.NewCipher(key[:suite.KeyLen-h().Size()])
	if err != nil {
		return nil, err
	}
	n += trailer(n, aes.BlockSize)
	iv, data, sum := make([]byte, aes.BlockSize), make([]byte, n), make([]byte, 0, h().Size())
	mac := hmac.New(h, key[suite.KeyLen-h().Size():])
	authenticate := func() {
		mac.Reset()
		mac.Write(data)
		sum = mac.Sum(sum[:0])
	}
	if op == "seal" {
		return func() error {
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
			authenticate()
			return nil
		}, nil
	}
	return func() error {
		authenticate()
		cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
		return nil
	}, nil
}
