package keysock

import (
	"errors"
	"math"

	"golang.org/x/crypto/cryptobyte"

	"spindle/sadb"
)

// The bodies of the messages, each append beside its parser.

func (m Add) append(w *cryptobyte.Builder) { appendSA(w, &m.SA, true) }

func (m Update) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.Pair))
	appendAddrPort(w, m.Local)
	appendAddrPort(w, m.Remote)
	appendBool(w, m.Encap)
}

func (r *reader) update() Update {
	return Update{
		Pair:   r.spi("pair"),
		Local:  r.addrPort("local"),
		Remote: r.addrPort("remote"),
		Encap:  r.bool("encap"),
	}
}

func (m Delete) append(w *cryptobyte.Builder) {
	w.AddUint8(uint8(m.Direction))
	w.AddUint32(uint32(m.Pair))
}

func (m PolicyAdd) append(w *cryptobyte.Builder) { appendPolicy(w, &m.Policy) }

func (m PolicyDelete) append(w *cryptobyte.Builder) { w.AddUint32(uint32(m.ID)) }

func (m HostAddress) append(w *cryptobyte.Builder) {
	appendBool(w, m.Remove)
	appendAddr(w, m.Addr)
}

func (Flush) append(*cryptobyte.Builder) {}
func (Dump) append(*cryptobyte.Builder)  {}
func (Stats) append(*cryptobyte.Builder) {}

func (Translations) append(*cryptobyte.Builder) {}

func (m Inject) append(w *cryptobyte.Builder) {
	appendAddrPort(w, m.Local)
	appendAddrPort(w, m.Remote)
	appendBytes(w, m.Data)
}

func (m Punt) append(w *cryptobyte.Builder) { Inject(m).append(w) }

func (m Keepalive) append(w *cryptobyte.Builder) {
	appendAddrPort(w, m.Local)
	appendAddrPort(w, m.Remote)
	appendDuration(w, m.Quiet)
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, pair := range m.Pairs {
			w.AddUint32(uint32(pair))
		}
	})
}

func (r *reader) keepalive() Keepalive {
	m := Keepalive{Local: r.addrPort("local"), Remote: r.addrPort("remote"), Quiet: r.duration("quiet")}
	r.list("pairs", func(r *reader) { m.Pairs = append(m.Pairs, r.spi("pair")) })
	return m
}

func (m Addresses) append(w *cryptobyte.Builder) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, a := range m.List {
			appendAddr(w, a)
		}
	})
}

func (r *reader) addresses() Addresses {
	var m Addresses
	r.list("addresses", func(r *reader) { m.List = append(m.List, r.addr("address")) })
	return m
}

func (m Hello) append(w *cryptobyte.Builder) {
	if m.Workers < 0 || m.Workers > math.MaxUint8 {
		w.SetError(errors.New("workers do not fit"))
	}
	w.AddUint8(uint8(m.Workers))
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, cpu := range m.CPUs {
			w.AddUint32(uint32(int32(cpu)))
		}
	})
	appendText(w, m.Crypto)
	appendText(w, m.XDP)
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, id := range m.Policies {
			w.AddUint32(uint32(id))
		}
	})
}

func (r *reader) hello() Hello {
	m := Hello{Workers: int(r.uint8("workers"))}
	r.list("cpus", func(r *reader) { m.CPUs = append(m.CPUs, int(int32(r.uint32("cpu")))) })
	m.Crypto, m.XDP = r.text("crypto"), r.text("xdp")
	r.list("policies", func(r *reader) { m.Policies = append(m.Policies, r.policyID()) })
	return m
}

func (m Ack) append(w *cryptobyte.Builder) { appendText(w, m.Err) }

func (m Usage) append(w *cryptobyte.Builder) {
	appendSA(w, &m.SA, false)
	appendText(w, m.KeyFingerprint)
	w.AddUint64(m.Packets)
	w.AddUint64(m.Bytes)
	w.AddUint64(m.Drops)
	appendTime(w, m.LastUsed)
	w.AddUint16(m.MTU)
	w.AddUint16(m.PathMTU)
	appendHistogram(w, m.Late)
	appendHistogram(w, m.Left)
}

func appendHistogram(w *cryptobyte.Builder, buckets []uint64) {
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for _, n := range buckets {
			w.AddUint64(n)
		}
	})
}

func (r *reader) histogram(field string) (buckets []uint64) {
	r.list(field, func(r *reader) { buckets = append(buckets, r.uint64(field)) })
	return buckets
}

func (r *reader) usage() Usage {
	return Usage{
		SA:             r.sa(false),
		KeyFingerprint: r.text("key fingerprint"),
		Packets:        r.uint64("packets"),
		Bytes:          r.uint64("bytes"),
		Drops:          r.uint64("drops"),
		LastUsed:       r.time("last used"),
		MTU:            r.uint16("MTU"),
		PathMTU:        r.uint16("path MTU"),
		Late:           r.histogram("late packets"),
		Left:           r.histogram("packets left of the window"),
	}
}

func (m Counters) append(w *cryptobyte.Builder) {
	if len(m.Names) != len(m.Values) {
		w.SetError(errors.New("as many names as values are needed"))
		return
	}
	appendText(w, m.Source)
	w.AddUint16LengthPrefixed(func(w *cryptobyte.Builder) {
		for i, name := range m.Names {
			appendText(w, name)
			w.AddUint64(m.Values[i])
		}
	})
}

func (r *reader) counters() Counters {
	m := Counters{Source: r.text("source")}
	r.list("counters", func(r *reader) {
		m.Names = append(m.Names, r.text("name"))
		m.Values = append(m.Values, r.uint64("value"))
	})
	return m
}

func (m Translation) append(w *cryptobyte.Builder) {
	appendText(w, m.Conn)
	appendAddr(w, m.Address)
	for _, n := range []int{m.Worker, m.Bound, m.TCP, m.UDP, m.ICMP, m.Other} {
		w.AddUint32(uint32(n))
	}
	for _, n := range []uint64{m.Made, m.Full, m.NoMapping, m.Untranslatable} {
		w.AddUint64(n)
	}
}

func (r *reader) translation() Translation {
	count := func(field string) int { return int(r.uint32(field)) }
	return Translation{
		Conn: r.text("conn"), Address: r.addr("address"), Worker: count("worker"), Bound: count("bound"),
		TCP: count("TCP mappings"), UDP: count("UDP mappings"), ICMP: count("ICMP mappings"), Other: count("other mappings"),
		Made: r.uint64("made"), Full: r.uint64("full"), NoMapping: r.uint64("no mapping"), Untranslatable: r.uint64("untranslatable"),
	}
}

func (m Acquire) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.Policy))
	appendFlow(w, &m.Flow)
}

func (m Expire) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.Pair))
	appendBool(w, m.Hard)
	appendText(w, m.Cause)
}

func (m Silence) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.Pair))
	appendTime(w, m.LastIn)
}

func (m Moved) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.Pair))
	appendAddrPort(w, m.Remote)
}

func (m UnknownSPI) append(w *cryptobyte.Builder) {
	w.AddUint32(uint32(m.SPI))
	appendAddrPort(w, m.Local)
	appendAddrPort(w, m.Remote)
	w.AddUint32(m.Sequence)
	w.AddUint64(m.Packets)
}

func (r *reader) unknownSPI() UnknownSPI {
	return UnknownSPI{
		SPI:      r.spi("SPI"),
		Local:    r.addrPort("local"),
		Remote:   r.addrPort("remote"),
		Sequence: r.uint32("sequence"),
		Packets:  r.uint64("packets"),
	}
}

// appendSA writes an SA. Keys cross the socket only where an SA is installed.
func appendSA(w *cryptobyte.Builder, sa *sadb.SA, key bool) {
	w.AddUint32(uint32(sa.SPI))
	w.AddUint8(uint8(sa.Direction))
	w.AddUint64(sa.Sequence)
	appendBool(w, sa.ESN)
	w.AddUint32(sa.ReplayWindow)
	appendText(w, sa.Suite)
	if key {
		appendBytes(w, sa.Key)
	}
	appendLifetime(w, sa.Soft)
	appendLifetime(w, sa.Hard)
	appendDuration(w, sa.Idle)
	appendDuration(w, sa.Silence)
	w.AddUint8(uint8(sa.Mode))
	w.AddUint8(uint8(sa.DF))
	appendBool(w, sa.FixDSCP)
	w.AddUint8(sa.DSCP)
	w.AddUint16(sa.PathMTU)
	appendAddrPort(w, sa.Local)
	appendAddrPort(w, sa.Remote)
	appendBool(w, sa.Encap)
	w.AddUint8(sa.TTL)
	w.AddUint32(sa.FlowLabel)
	appendBool(w, sa.CopyFlowLabel)
	w.AddUint16(sa.TFC)
	appendBool(w, sa.FragmentAfter)
	appendBool(w, sa.KeepMSS)
	appendAddr(w, sa.Translate)
	appendSelectors(w, sa.LocalTS)
	appendSelectors(w, sa.RemoteTS)
	appendAccess(w, sa.Access)
	w.AddUint32(uint32(sa.Pair))
	w.AddUint32(uint32(sa.Policy))
	appendText(w, sa.Conn)
	appendText(w, sa.Child)
}

func (r *reader) sa(key bool) sadb.SA {
	var sa sadb.SA
	sa.SPI = r.spi("SPI")
	sa.Direction = r.direction()
	sa.Sequence = r.uint64("sequence")
	sa.ESN = r.bool("ESN")
	sa.ReplayWindow = r.uint32("replay window")
	sa.Suite = r.text("suite")
	if key {
		sa.Key = r.bytes("key")
	}
	sa.Soft = r.lifetime("soft lifetime")
	sa.Hard = r.lifetime("hard lifetime")
	sa.Idle = r.duration("idle")
	sa.Silence = r.duration("silence")
	sa.Mode = sadb.Mode(r.enum("mode", uint8(sadb.Transport)))
	sa.DF = sadb.DFPolicy(r.enum("DF", uint8(sadb.DFClear)))
	sa.FixDSCP = r.bool("fixed DSCP")
	sa.DSCP = r.uint8("DSCP")
	sa.PathMTU = r.uint16("path MTU")
	sa.Local = r.addrPort("local")
	sa.Remote = r.addrPort("remote")
	sa.Encap = r.bool("encap")
	sa.TTL = r.uint8("TTL")
	sa.FlowLabel = r.uint32("flow label")
	sa.CopyFlowLabel = r.bool("flow label policy")
	sa.TFC = r.uint16("TFC padding")
	sa.FragmentAfter = r.bool("fragment after")
	sa.KeepMSS = r.bool("keep MSS")
	sa.Translate = r.addr("translate")
	sa.LocalTS = r.selectors("local selectors")
	sa.RemoteTS = r.selectors("remote selectors")
	sa.Access = r.access()
	sa.Pair = r.spi("pair")
	sa.Policy = r.policyID()
	sa.Conn = r.text("conn")
	sa.Child = r.text("child")
	return sa
}

func appendPolicy(w *cryptobyte.Builder, p *sadb.Policy) {
	w.AddUint32(uint32(p.ID))
	w.AddUint32(p.Priority)
	w.AddUint8(uint8(p.Action))
	appendSelectors(w, p.Local)
	appendSelectors(w, p.Remote)
	appendBool(w, p.Acquire)
	appendAccess(w, p.Access)
	appendText(w, p.Conn)
	appendText(w, p.Child)
}

func (r *reader) policy() sadb.Policy {
	return sadb.Policy{
		ID:       r.policyID(),
		Priority: r.uint32("priority"),
		Action:   sadb.Action(r.enum("action", uint8(sadb.Discard))),
		Local:    r.selectors("local selectors"),
		Remote:   r.selectors("remote selectors"),
		Acquire:  r.bool("acquire"),
		Access:   r.access(),
		Conn:     r.text("conn"),
		Child:    r.text("child"),
	}
}
