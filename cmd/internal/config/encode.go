package config

import (
	"bytes"
	"encoding/gob"
	"fmt"
)

// sealed is what travels to the control process: the file as it was checked and
// the secrets it names. The receiver checks it again, by the same code.
type sealed struct {
	Path    string
	Source  []byte
	Secrets map[string][]byte
	Crash   []byte
}

// Encode renders the configuration with its secrets for a trusted descriptor.
func (c *Config) Encode() ([]byte, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(sealed{c.Path, c.source, c.secrets, c.CrashSecret}); err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	return b.Bytes(), nil
}

// Decode is the inverse of Encode. It opens no file.
func Decode(data []byte) (*Config, error) {
	var s sealed
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&s); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	c, err := parse(s.Path, s.Source, func(name string) (secret, error) {
		data, ok := s.Secrets[name]
		if !ok {
			return secret{}, errNoSecret
		}
		return secret{data: data}, nil
	})
	if err != nil {
		return nil, err
	}
	c.secrets, c.CrashSecret = s.Secrets, s.Crash
	return c, nil
}
