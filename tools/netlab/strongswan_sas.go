package netlab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// IKESA is what strongSwan says of an IKE SA.
type IKESA struct {
	Name       string
	Version    int
	State      string // ESTABLISHED, CONNECTING, REKEYED, ...
	Initiator  bool
	InitSPI    string
	RespSPI    string
	Encryption string
	Children   []ChildSA
}

// ChildSA is what strongSwan says of a pair of ESP SAs.
type ChildSA struct {
	Name       string
	State      string // INSTALLED, REKEYING, REKEYED, DELETING, ...
	Encap      bool
	SPIIn      uint32
	SPIOut     uint32
	PacketsIn  uint64
	PacketsOut uint64
	BytesIn    uint64
	BytesOut   uint64
	Encryption string
}

// ListSAs lists the IKE SAs with their children.
func (s *StrongSwan) ListSAs(ctx context.Context) ([]IKESA, error) {
	text, err := s.swanctl(ctx, "--list-sas", "--raw")
	if err != nil {
		return nil, err
	}
	var sas []IKESA
	for line := range strings.Lines(text) {
		body, ok := strings.CutPrefix(strings.TrimSpace(line), "list-sa event ")
		if !ok {
			continue
		}
		root, err := parseVICI(body)
		if err != nil {
			return nil, fmt.Errorf("swanctl --list-sas: %w", err)
		}
		for name, sa := range root.sections {
			sas = append(sas, ikeSA(name, sa))
		}
	}
	return sas, nil
}

func ikeSA(name string, s *section) IKESA {
	sa := IKESA{
		Name: name, Version: int(s.number("version", 10)), State: s.values["state"], Initiator: s.values["initiator"] == "yes",
		InitSPI: s.values["initiator-spi"], RespSPI: s.values["responder-spi"],
		Encryption: s.values["encr-alg"] + "-" + s.values["encr-keysize"],
	}
	children := s.sections["child-sas"]
	if children == nil {
		return sa
	}
	for _, c := range children.sections {
		sa.Children = append(sa.Children, ChildSA{
			Name: c.values["name"], State: c.values["state"], Encap: c.values["encap"] == "yes",
			SPIIn: uint32(c.number("spi-in", 16)), SPIOut: uint32(c.number("spi-out", 16)),
			PacketsIn: c.number("packets-in", 10), PacketsOut: c.number("packets-out", 10),
			BytesIn: c.number("bytes-in", 10), BytesOut: c.number("bytes-out", 10),
			Encryption: c.values["encr-alg"] + "-" + c.values["encr-keysize"],
		})
	}
	return sa
}

// section is a VICI section as swanctl --raw prints it:
//
//	{key=value other=value list=[a b] name {...}}
type section struct {
	values   map[string]string
	sections map[string]*section
}

func (s *section) number(key string, base int) uint64 {
	n, _ := strconv.ParseUint(s.values[key], base, 64)
	return n
}

var errVICI = errors.New("output is not as expected")

func parseVICI(text string) (*section, error) {
	rest, ok := strings.CutPrefix(text, "{")
	if !ok {
		return nil, errVICI
	}
	s, rest, err := parseSection(rest)
	if err != nil || strings.TrimSpace(rest) != "" {
		return nil, errVICI
	}
	return s, nil
}

// parseSection reads up to and over the closing brace.
func parseSection(text string) (*section, string, error) {
	s := &section{values: map[string]string{}, sections: map[string]*section{}}
	for {
		text = strings.TrimLeft(text, " ")
		if rest, ok := strings.CutPrefix(text, "}"); ok {
			return s, rest, nil
		}
		end := strings.IndexAny(text, "= {")
		if end <= 0 {
			return nil, "", errVICI
		}
		key := text[:end]
		text = text[end:]
		if rest, ok := strings.CutPrefix(text, "="); ok {
			var value string
			value, text = parseValue(rest)
			s.values[key] = value
			continue
		}
		rest, ok := strings.CutPrefix(strings.TrimLeft(text, " "), "{")
		if !ok {
			return nil, "", errVICI
		}
		sub, rest, err := parseSection(rest)
		if err != nil {
			return nil, "", err
		}
		s.sections[key], text = sub, rest
	}
}

// parseValue reads a word, or a list in brackets.
func parseValue(text string) (value, rest string) {
	stop := " }"
	if strings.HasPrefix(text, "[") {
		stop = "]"
	}
	end := strings.IndexAny(text, stop)
	if end < 0 {
		return text, ""
	}
	if stop == "]" {
		end++
	}
	return text[:end], text[end:]
}
