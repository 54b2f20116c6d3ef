package keysock_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"spindle/sadb"
	"spindle/sadb/keysock"
)

// same compares messages: an empty list and none are the same on the wire.
var same = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.EquateComparable(netip.Addr{}, netip.AddrPort{}),
}

func draw[T any](t *rapid.T, g *rapid.Generator[T]) T { return g.Draw(t, "v") }

func drawAddr(t *rapid.T) netip.Addr {
	size := draw(t, rapid.SampledFrom([]int{0, 4, 16}))
	a, _ := netip.AddrFromSlice(draw(t, rapid.SliceOfN(rapid.Byte(), size, size)))
	return a
}

func drawAddrPort(t *rapid.T) netip.AddrPort {
	return netip.AddrPortFrom(drawAddr(t), draw(t, rapid.Uint16()))
}

func drawSelectors(t *rapid.T) []sadb.Selector {
	return draw(t, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sadb.Selector {
		return sadb.Selector{
			First: drawAddr(t), Last: drawAddr(t), Protocol: draw(t, rapid.Byte()),
			FirstPort: draw(t, rapid.Uint16()), LastPort: draw(t, rapid.Uint16()),
		}
	}), 0, 4))
}

func drawAccess(t *rapid.T) sadb.AccessList {
	return draw(t, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sadb.AccessRule {
		return sadb.AccessRule{Permit: draw(t, rapid.Bool()), Local: drawSelectors(t), Remote: drawSelectors(t)}
	}), 0, 3))
}

func drawLifetime(t *rapid.T) sadb.Lifetime {
	return sadb.Lifetime{
		Time: time.Duration(draw(t, rapid.Int64())), Bytes: draw(t, rapid.Uint64()), Packets: draw(t, rapid.Uint64()),
	}
}

func drawSA(t *rapid.T) sadb.SA {
	return sadb.SA{
		SPI: sadb.SPI(draw(t, rapid.Uint32())), Direction: sadb.Direction(draw(t, rapid.IntRange(0, 1))),
		Sequence: draw(t, rapid.Uint64()), ESN: draw(t, rapid.Bool()), ReplayWindow: draw(t, rapid.Uint32()),
		Suite: draw(t, rapid.String()), Key: draw(t, rapid.SliceOf(rapid.Byte())),
		Soft: drawLifetime(t), Hard: drawLifetime(t), Idle: time.Duration(draw(t, rapid.Int64())), Silence: time.Duration(draw(t, rapid.Int64())),
		Mode: sadb.Mode(draw(t, rapid.IntRange(0, 1))), DF: sadb.DFPolicy(draw(t, rapid.IntRange(0, 2))),
		FixDSCP: draw(t, rapid.Bool()), DSCP: draw(t, rapid.Byte()),
		PathMTU: draw(t, rapid.Uint16()), Local: drawAddrPort(t), Remote: drawAddrPort(t), Encap: draw(t, rapid.Bool()),
		TTL: draw(t, rapid.Byte()), FlowLabel: draw(t, rapid.Uint32()), CopyFlowLabel: draw(t, rapid.Bool()),
		TFC: draw(t, rapid.Uint16()), FragmentAfter: draw(t, rapid.Bool()), KeepMSS: draw(t, rapid.Bool()), Translate: drawAddr(t),
		LocalTS: drawSelectors(t), RemoteTS: drawSelectors(t), Access: drawAccess(t),
		Pair: sadb.SPI(draw(t, rapid.Uint32())), Policy: sadb.PolicyID(draw(t, rapid.Uint32())),
		Conn: draw(t, rapid.String()), Child: draw(t, rapid.String()),
	}
}

// drawHistogram has buckets or is nil: an empty one comes back as nil.
func drawHistogram(t *rapid.T) []uint64 {
	if buckets := draw(t, rapid.SliceOfN(rapid.Uint64(), 0, 18)); len(buckets) > 0 {
		return buckets
	}
	return nil
}

func drawUsage(t *rapid.T) keysock.Usage {
	u := keysock.Usage{
		SA: drawSA(t), KeyFingerprint: draw(t, rapid.String()),
		Packets: draw(t, rapid.Uint64()), Bytes: draw(t, rapid.Uint64()), Drops: draw(t, rapid.Uint64()),
		MTU: draw(t, rapid.Uint16()), PathMTU: draw(t, rapid.Uint16()),
		Late: drawHistogram(t), Left: drawHistogram(t),
	}
	if draw(t, rapid.Bool()) {
		u.LastUsed = time.Unix(0, draw(t, rapid.Int64Min(1)))
	}
	return u
}

func drawCounters(t *rapid.T) keysock.Counters {
	n := draw(t, rapid.IntRange(0, 40))
	return keysock.Counters{
		Source: draw(t, rapid.String()),
		Names:  draw(t, rapid.SliceOfN(rapid.String(), n, n)),
		Values: draw(t, rapid.SliceOfN(rapid.Uint64(), n, n)),
	}
}

func drawTranslation(t *rapid.T) keysock.Translation {
	count := func() int { return int(draw(t, rapid.Uint32())) }
	return keysock.Translation{
		Conn: draw(t, rapid.String()), Address: drawAddr(t), Worker: count(),
		Bound: count(), TCP: count(), UDP: count(), ICMP: count(), Other: count(),
		Made: draw(t, rapid.Uint64()), Full: draw(t, rapid.Uint64()), NoMapping: draw(t, rapid.Uint64()), Untranslatable: draw(t, rapid.Uint64()),
	}
}

func drawPolicy(t *rapid.T) sadb.Policy {
	return sadb.Policy{
		ID: sadb.PolicyID(draw(t, rapid.Uint32())), Priority: draw(t, rapid.Uint32()),
		Action: sadb.Action(draw(t, rapid.IntRange(0, 2))), Local: drawSelectors(t), Remote: drawSelectors(t),
		Acquire: draw(t, rapid.Bool()), Access: drawAccess(t), Conn: draw(t, rapid.String()), Child: draw(t, rapid.String()),
	}
}

func drawFlow(t *rapid.T) sadb.Flow {
	return sadb.Flow{
		Src: drawAddr(t), Dst: drawAddr(t), Protocol: draw(t, rapid.Byte()),
		SrcPort: draw(t, rapid.Uint16()), DstPort: draw(t, rapid.Uint16()),
	}
}

// messages draws every message of the package.
var messages = []func(*rapid.T) keysock.Message{
	func(t *rapid.T) keysock.Message { return keysock.Add{SA: drawSA(t)} },
	func(t *rapid.T) keysock.Message {
		return keysock.Update{
			Pair: sadb.SPI(draw(t, rapid.Uint32())), Local: drawAddrPort(t), Remote: drawAddrPort(t), Encap: draw(t, rapid.Bool()),
		}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Delete{
			Direction: sadb.Direction(draw(t, rapid.IntRange(0, 1))), Pair: sadb.SPI(draw(t, rapid.Uint32())),
		}
	},
	func(*rapid.T) keysock.Message { return keysock.Flush{} },
	func(t *rapid.T) keysock.Message { return keysock.PolicyAdd{Policy: drawPolicy(t)} },
	func(t *rapid.T) keysock.Message {
		return keysock.PolicyDelete{ID: sadb.PolicyID(draw(t, rapid.Uint32()))}
	},
	func(*rapid.T) keysock.Message { return keysock.Dump{} },
	func(*rapid.T) keysock.Message { return keysock.Stats{} },
	func(*rapid.T) keysock.Message { return keysock.Translations{} },
	func(t *rapid.T) keysock.Message { return drawTranslation(t) },
	func(t *rapid.T) keysock.Message {
		return keysock.Inject{Local: drawAddrPort(t), Remote: drawAddrPort(t), Data: draw(t, rapid.SliceOf(rapid.Byte()))}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Keepalive{
			Local: drawAddrPort(t), Remote: drawAddrPort(t), Quiet: time.Duration(draw(t, rapid.Int64())),
			Pairs: draw(t, rapid.SliceOfN(rapid.Map(rapid.Uint32(), func(spi uint32) sadb.SPI { return sadb.SPI(spi) }), 1, 9)),
		}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.HostAddress{Remove: draw(t, rapid.Bool()), Addr: draw(t, rapid.Custom(drawAddr))}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Addresses{List: draw(t, rapid.SliceOfN(rapid.Custom(drawAddr), 1, 5))}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Hello{
			Workers: draw(t, rapid.IntRange(0, 255)), CPUs: draw(t, rapid.SliceOfN(rapid.IntRange(-1, 8191), 1, 9)), Crypto: draw(t, rapid.String()), XDP: draw(t, rapid.String()),
			Policies: draw(t, rapid.SliceOfN(rapid.Map(rapid.Uint32(), func(id uint32) sadb.PolicyID { return sadb.PolicyID(id) }), 1, 9)),
		}
	},
	func(t *rapid.T) keysock.Message { return keysock.Ack{Err: draw(t, rapid.String())} },
	func(t *rapid.T) keysock.Message { return drawUsage(t) },
	func(t *rapid.T) keysock.Message { return drawCounters(t) },
	func(t *rapid.T) keysock.Message {
		return keysock.Acquire{Policy: sadb.PolicyID(draw(t, rapid.Uint32())), Flow: drawFlow(t)}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Expire{
			Pair: sadb.SPI(draw(t, rapid.Uint32())), Hard: draw(t, rapid.Bool()), Cause: draw(t, rapid.String()),
		}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Punt{Local: drawAddrPort(t), Remote: drawAddrPort(t), Data: draw(t, rapid.SliceOf(rapid.Byte()))}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.Moved{Pair: sadb.SPI(draw(t, rapid.Uint32())), Remote: drawAddrPort(t)}
	},
	func(t *rapid.T) keysock.Message {
		return keysock.UnknownSPI{
			SPI: sadb.SPI(draw(t, rapid.Uint32())), Local: drawAddrPort(t), Remote: drawAddrPort(t),
			Sequence: draw(t, rapid.Uint32()), Packets: draw(t, rapid.Uint64()),
		}
	},
}

// withoutKey is what arrives of a message: Usage never carries the key.
func withoutKey(m keysock.Message) keysock.Message {
	if u, ok := m.(keysock.Usage); ok {
		u.SA.Key = nil
		return u
	}
	return m
}

func TestRoundTripAndEveryTruncation(t *testing.T) {
	for _, message := range messages {
		rapid.Check(t, func(t *rapid.T) {
			m, seq := message(t), draw(t, rapid.Uint32())
			b, err := keysock.Append([]byte("before"), seq, m)
			if err != nil {
				t.Fatal(err)
			}
			b = b[len("before"):]
			gotSeq, got, err := keysock.Parse(b)
			if err != nil || gotSeq != seq {
				t.Fatalf("seq %d, want %d, err %v", gotSeq, seq, err)
			}
			if diff := cmp.Diff(withoutKey(m), got, same); diff != "" {
				t.Fatalf("%T: %s", m, diff)
			}
			for n := range b {
				if _, got, err := keysock.Parse(b[:n]); !errors.Is(err, keysock.ErrMalformed) || got != nil {
					t.Fatalf("%T cut to %d of %d bytes: %v, %v", m, n, len(b), got, err)
				}
			}
			if _, _, err := keysock.Parse(append(b, 0)); !errors.Is(err, keysock.ErrMalformed) {
				t.Fatalf("%T with a byte too many: %v", m, err)
			}
		})
	}
}

func TestUsageNeverCarriesTheKey(t *testing.T) {
	key := bytes.Repeat([]byte("secret"), 6)
	sa := sadb.SA{SPI: 0x04000100, Key: key}
	add, err := keysock.Append(nil, 1, keysock.Add{SA: sa})
	if err != nil || !bytes.Contains(add, key) {
		t.Fatalf("Add lacks the key (%v)", err)
	}
	usage, err := keysock.Append(nil, 1, keysock.Usage{SA: sa, KeyFingerprint: sadb.Key(key).Fingerprint()})
	if err != nil || bytes.Contains(usage, []byte("secret")) {
		t.Fatalf("Usage carries the key (%v)", err)
	}
}

func TestAppendRefuses(t *testing.T) {
	zoned := netip.MustParseAddrPort("[fe80::1%eth0]:500")
	for name, m := range map[string]keysock.Message{
		"a datagram longer than UDP has": keysock.Inject{Data: make([]byte, 1<<16)},
		"more than MaxMessage":           keysock.Hello{Crypto: strings.Repeat("x", 40000), XDP: strings.Repeat("x", 40000)},
		"names without values":           keysock.Counters{Names: []string{"a"}},
		"300 workers":                    keysock.Hello{Workers: 300},
		"a zone":                         keysock.Update{Local: zoned},
	} {
		if b, err := keysock.Append(nil, 1, m); err == nil {
			t.Errorf("%s: encoded in %d bytes", name, len(b))
		}
	}
	if _, err := keysock.Append(nil, 1, keysock.Punt{Data: make([]byte, 65507)}); err != nil {
		t.Errorf("the largest UDP datagram: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		seq  uint32
		want string
	}{
		"nothing":               {nil, 0, "version before offset 0: truncated"},
		"another version":       {[]byte{9, 7, 0, 0, 0, 5}, 5, "version 9, want 1"},
		"verb 0":                {[]byte{1, 0, 0, 0, 0, 5}, 5, "unknown verb 0"},
		"a verb to come":        {[]byte{1, 99, 0, 0, 0, 5}, 5, "unknown verb 99"},
		"direction 2":           {[]byte{1, 3, 0, 0, 0, 5, 2, 0, 0, 0, 0}, 5, "parse DELETE: malformed message: direction before offset 7"},
		"an address of 5 bytes": {[]byte{1, 2, 0, 0, 0, 5, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0}, 5, "address of 5 bytes"},
		"a list cut short":      {[]byte{1, 13, 0, 0, 0, 5, 0, 0, 0, 3, 0, 1, 'x'}, 5, "value before offset 13: truncated"},
	} {
		seq, m, err := keysock.Parse(c.b)
		if m != nil || seq != c.seq || !errors.Is(err, keysock.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: seq %d, %v, %v; want %q", name, seq, m, err, c.want)
		}
	}
}

// FuzzParse: nothing panics, and what parses encodes to the same bytes.
func FuzzParse(f *testing.F) {
	for _, message := range messages {
		m := rapid.Custom(func(t *rapid.T) keysock.Message {
			rapid.Bool().Draw(t, "rapid wants something drawn")
			return message(t)
		}).Example(1)
		b, err := keysock.Append(nil, 7, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		seq, m, err := keysock.Parse(b)
		if err != nil {
			return
		}
		again, err := keysock.Append(nil, seq, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%#v: %x became %x, %v", m, b, again, err)
		}
	})
}
