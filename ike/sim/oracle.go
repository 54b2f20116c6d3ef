package sim

import (
	"encoding/binary"
	"slices"

	"spindle/sadb"
)

// Where things are in an IKE header (RFC 7296 §3.1). It is read here without the
// engine's codec, which is on trial.
const (
	headerSize           = 28
	offsetNext           = 16
	offsetVersion        = 17
	offsetExchange       = 18
	offsetFlags          = 19
	offsetMessageID      = 20
	payloadSK            = 46
	exchangeInit         = 34
	exchangeIntermediate = 43
	flagInitiator        = 0x08
	flagResponse         = 0x20
)

// Those of IKEv1, whose header is the same (RFC 2408 §3.1).
const (
	payloadSA       = 1
	exchangeMain    = 2
	exchangeAggr    = 4
	exchangeInform  = 5
	exchangeQuick   = 32
	flagEncryption  = 0x01
	responderCookie = 8 // its offset
)

// oracle remembers what must not come twice.
type oracle struct {
	messages  map[messageKey]uint64 // the octets that were sent with that message ID
	ivs       map[ivKey]uint64      // and with that IV
	exchanges map[exchangeKey]*spoken
	sequences map[string]uint64 // the highest sequence number by key
}

type messageKey struct {
	spis  [16]byte
	flags byte
	id    uint32
}

type ivKey struct {
	spis  [16]byte
	flags byte
	first bool // the keys of IKE_INTERMEDIATE: those after it are others (RFC 9370 §2.2.2)
	iv    uint64
}

// exchangeKey is an exchange of IKEv1 after phase 1, spoken what was said in it.
type exchangeKey struct {
	cookies [16]byte
	id      uint32
}

type spoken struct {
	kind     byte
	messages []uint64
}

func newOracle() oracle {
	return oracle{map[messageKey]uint64{}, map[ivKey]uint64{}, map[exchangeKey]*spoken{}, map[string]uint64{}}
}

// message checks that under one key no message ID and no IV stands for two
// messages: RFC 7296 §2.1, a retransmission is bitwise identical; §2.2, message
// IDs are never reused.
func (o *oracle) message(w *world, g *gateway, data []byte, hash uint64) {
	if len(data) > headerSize && data[offsetVersion]>>4 == 1 {
		o.messageV1(w, g, data, hash)
		return
	}
	if len(data) < headerSize+12 || data[offsetNext] != payloadSK {
		return
	}
	m := messageKey{spis: [16]byte(data), flags: data[offsetFlags] & (flagInitiator | flagResponse),
		id: binary.BigEndian.Uint32(data[offsetMessageID:])}
	if was, ok := o.messages[m]; ok && was != hash {
		w.fail("%s: message ID %d used for two messages", g.name, m.id)
	}
	o.messages[m] = hash
	iv := ivKey{m.spis, m.flags & flagInitiator, data[offsetExchange] == exchangeIntermediate, binary.BigEndian.Uint64(data[headerSize+4:])}
	if was, ok := o.ivs[iv]; ok && was != hash {
		w.fail("%s: IKE IV used twice", g.name)
	}
	o.ivs[iv] = hash
}

// messageV1 checks that a message ID stands for one exchange (RFC 2409 §5.5): the IV
// of its first message is made of it, that of each other of the one before. An
// exchange has so many messages and no more.
func (o *oracle) messageV1(w *world, g *gateway, data []byte, hash uint64) {
	key := exchangeKey{[16]byte(data), binary.BigEndian.Uint32(data[offsetMessageID:])}
	if key.id == 0 {
		return // phase 1
	}
	kind := data[offsetExchange]
	x := o.exchanges[key]
	if x == nil {
		x = &spoken{kind: kind}
		o.exchanges[key] = x
	}
	if slices.Contains(x.messages, hash) {
		return
	}
	x.messages = append(x.messages, hash)
	most := map[byte]int{exchangeInform: 1, exchangeQuick: 3}[x.kind]
	switch {
	case data[offsetFlags]&flagEncryption == 0:
		w.fail("%s: a message after phase 1 is not encrypted", g.name)
	case kind != x.kind || len(x.messages) > most:
		w.fail("%s: message ID %d used for two exchanges", g.name, key.id)
	}
}

// packet checks that sequence numbers of a key only grow: the IV is made of them.
func (o *oracle) packet(w *world, g *gateway, sa *sadb.SA) {
	key := string(sa.Key)
	if sa.Sequence <= o.sequences[key] {
		w.fail("%s: sequence number %d of SA %s used twice", g.name, sa.Sequence, w.names.of(g, sa.Pair))
	}
	o.sequences[key] = sa.Sequence
}

// opens reports whether a message is the first that a stranger sends: an IKE_SA_INIT
// request, or one of phase 1.
func opens(data []byte) bool {
	if len(data) <= headerSize {
		return false
	}
	switch data[offsetExchange] {
	case exchangeInit:
		return data[offsetFlags]&flagResponse == 0
	case exchangeMain, exchangeAggr:
		return data[offsetNext] == payloadSA && binary.BigEndian.Uint64(data[responderCookie:]) == 0
	}
	return false
}
