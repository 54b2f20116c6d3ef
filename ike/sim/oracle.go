package sim

import (
	"encoding/binary"

	"spindle/sadb"
)

// Where things are in an IKE header (RFC 7296 §3.1). It is read here without the
// engine's codec, which is on trial.
const (
	headerSize           = 28
	offsetNext           = 16
	offsetExchange       = 18
	offsetFlags          = 19
	offsetMessageID      = 20
	payloadSK            = 46
	exchangeInit         = 34
	exchangeIntermediate = 43
	flagInitiator        = 0x08
	flagResponse         = 0x20
)

// oracle remembers what must not come twice.
type oracle struct {
	messages  map[messageKey]uint64 // the octets that were sent with that message ID
	ivs       map[ivKey]uint64      // and with that IV
	sequences map[string]uint64     // the highest sequence number by key
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

func newOracle() oracle {
	return oracle{map[messageKey]uint64{}, map[ivKey]uint64{}, map[string]uint64{}}
}

// message checks that under one key no message ID and no IV stands for two
// messages: RFC 7296 §2.1, a retransmission is bitwise identical; §2.2, message
// IDs are never reused.
func (o *oracle) message(w *world, g *gateway, data []byte, hash uint64) {
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

// packet checks that sequence numbers of a key only grow: the IV is made of them.
func (o *oracle) packet(w *world, g *gateway, sa *sadb.SA) {
	key := string(sa.Key)
	if sa.Sequence <= o.sequences[key] {
		w.fail("%s: sequence number %d of SA %s used twice", g.name, sa.Sequence, w.names.of(g, sa.Pair))
	}
	o.sequences[key] = sa.Sequence
}

// opens reports whether a message is an IKE_SA_INIT request.
func opens(data []byte) bool {
	return len(data) > headerSize && data[offsetExchange] == exchangeInit && data[offsetFlags]&flagResponse == 0
}
