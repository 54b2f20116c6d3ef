package keysock

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"spindle/sadb"
)

// reader takes the fields of a message one after the other. After the first
// error it returns zeros and keeps that error.
type reader struct {
	left cryptobyte.String
	size int // of the whole message, for the offset in errors
	err  error
}

func (r *reader) fail(field, why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s before offset %d: %s", ErrMalformed, field, r.size-len(r.left), why)
	}
}

// ok notes a truncation and reports whether all is well so far.
func (r *reader) ok(field string, read bool) bool {
	if !read {
		r.fail(field, "truncated")
	}
	return r.err == nil
}

func (r *reader) uint8(field string) uint8 {
	var v uint8
	if !r.ok(field, r.left.ReadUint8(&v)) {
		return 0
	}
	return v
}

func (r *reader) uint16(field string) uint16 {
	var v uint16
	if !r.ok(field, r.left.ReadUint16(&v)) {
		return 0
	}
	return v
}

func (r *reader) uint32(field string) uint32 {
	var v uint32
	if !r.ok(field, r.left.ReadUint32(&v)) {
		return 0
	}
	return v
}

func (r *reader) uint64(field string) uint64 {
	var v uint64
	if !r.ok(field, r.left.ReadUint64(&v)) {
		return 0
	}
	return v
}

// enum reads a number that may not be higher than last.
func (r *reader) enum(field string, last uint8) uint8 {
	v := r.uint8(field)
	if v > last {
		r.fail(field, fmt.Sprintf("%d is not a value of it", v))
		return 0
	}
	return v
}

func (r *reader) bool(field string) bool                    { return r.enum(field, 1) == 1 }
func (r *reader) spi(field string) sadb.SPI                 { return sadb.SPI(r.uint32(field)) }
func (r *reader) policyID() sadb.PolicyID                   { return sadb.PolicyID(r.uint32("policy")) }
func (r *reader) direction() sadb.Direction                 { return sadb.Direction(r.enum("direction", 1)) }
func (r *reader) text(field string) string                  { return string(r.block(field)) }
func (r *reader) duration(f string) time.Duration           { return time.Duration(r.uint64(f)) }
func appendText(w *cryptobyte.Builder, s string)            { appendBytes(w, []byte(s)) }
func appendDuration(w *cryptobyte.Builder, d time.Duration) { w.AddUint64(uint64(d)) }

func appendBool(w *cryptobyte.Builder, b bool) {
	if b {
		w.AddUint8(1)
	} else {
		w.AddUint8(0)
	}
}

// block reads a length in bytes and as many bytes, which alias the message.
func (r *reader) block(field string) cryptobyte.String {
	var b cryptobyte.String
	if !r.ok(field, r.left.ReadUint16LengthPrefixed(&b)) {
		return nil
	}
	return b
}

func appendBytes(w *cryptobyte.Builder, b []byte) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(b) })
}

func (r *reader) bytes(field string) []byte {
	return append([]byte(nil), r.block(field)...)
}

// list reads a block of items until it is used up.
func (r *reader) list(field string, item func(*reader)) {
	in := &reader{left: r.block(field)}
	in.size = r.size - len(r.left)
	for r.err == nil && !in.left.Empty() {
		item(in)
		r.err = in.err
	}
}

func appendAddr(w *cryptobyte.Builder, a netip.Addr) {
	if a.Zone() != "" {
		w.SetError(errors.New("addresses with a zone are not supported"))
	}
	w.AddUint8LengthPrefixed(func(w *cryptobyte.Builder) { w.AddBytes(a.AsSlice()) })
}

func (r *reader) addr(field string) netip.Addr {
	var b cryptobyte.String
	if !r.ok(field, r.left.ReadUint8LengthPrefixed(&b)) || b.Empty() {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		r.fail(field, fmt.Sprintf("address of %d bytes", len(b)))
	}
	return a
}

func appendAddrPort(w *cryptobyte.Builder, a netip.AddrPort) {
	appendAddr(w, a.Addr())
	w.AddUint16(a.Port())
}

func (r *reader) addrPort(field string) netip.AddrPort {
	a := r.addr(field)
	return netip.AddrPortFrom(a, r.uint16(field))
}

func appendLifetime(w *cryptobyte.Builder, l sadb.Lifetime) {
	appendDuration(w, l.Time)
	w.AddUint64(l.Bytes)
	w.AddUint64(l.Packets)
}

func (r *reader) lifetime(field string) sadb.Lifetime {
	return sadb.Lifetime{Time: r.duration(field), Bytes: r.uint64(field), Packets: r.uint64(field)}
}

// appendTime writes nanoseconds since 1970, 0 for the zero time.
func appendTime(w *cryptobyte.Builder, t time.Time) {
	if t.IsZero() {
		w.AddUint64(0)
		return
	}
	w.AddUint64(uint64(t.UnixNano()))
}

func (r *reader) time(field string) time.Time {
	ns := int64(r.uint64(field))
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func appendSelectors(w *cryptobyte.Builder, list []sadb.Selector) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, s := range list {
			appendAddr(w, s.First)
			appendAddr(w, s.Last)
			w.AddUint8(s.Protocol)
			w.AddUint16(s.FirstPort)
			w.AddUint16(s.LastPort)
		}
	})
}

func (r *reader) selectors(field string) []sadb.Selector {
	var list []sadb.Selector
	r.list(field, func(r *reader) {
		list = append(list, sadb.Selector{
			First:     r.addr(field),
			Last:      r.addr(field),
			Protocol:  r.uint8(field),
			FirstPort: r.uint16(field),
			LastPort:  r.uint16(field),
		})
	})
	return list
}

func appendAccess(w *cryptobyte.Builder, list sadb.AccessList) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, rule := range list {
			appendBool(w, rule.Permit)
			appendSelectors(w, rule.Local)
			appendSelectors(w, rule.Remote)
		}
	})
}

func (r *reader) access() (list sadb.AccessList) {
	r.list("access list", func(r *reader) {
		list = append(list, sadb.AccessRule{
			Permit: r.bool("permit"), Local: r.selectors("local of a rule"), Remote: r.selectors("remote of a rule"),
		})
	})
	return list
}

func appendFlow(w *cryptobyte.Builder, f *sadb.Flow) {
	appendAddr(w, f.Src)
	appendAddr(w, f.Dst)
	w.AddUint8(f.Protocol)
	w.AddUint16(f.SrcPort)
	w.AddUint16(f.DstPort)
}

func (r *reader) flow() sadb.Flow {
	return sadb.Flow{
		Src:      r.addr("source"),
		Dst:      r.addr("destination"),
		Protocol: r.uint8("protocol"),
		SrcPort:  r.uint16("source port"),
		DstPort:  r.uint16("destination port"),
	}
}
