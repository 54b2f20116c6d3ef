package keysock

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Version of the encoding. Both processes come from one binary, so any other
// one means that only one of them was replaced: it is refused, not translated.
const Version = 1

// MaxMessage bounds a message in bytes: the largest UDP datagram and what
// goes with it.
const MaxMessage = 64<<10 + 4<<10

// ErrMalformed is the cause of every refusal to decode.
var ErrMalformed = errors.New("malformed message")

// Append encodes a message behind b:
//
//	 0        8       16                                              48
//	+--------+--------+-----------------------------------------------+------ ...
//	|version |  verb  |                     seq                       | body
//	+--------+--------+-----------------------------------------------+------ ...
//
// Numbers are big endian, texts and lists carry their length in bytes before
// them, addresses 0, 4 or 16.
func Append(b []byte, seq uint32, m Message) ([]byte, error) {
	w := cryptobyte.NewBuilder(b)
	w.AddUint8(Version)
	w.AddUint8(uint8(m.verb()))
	w.AddUint32(seq)
	m.append(w)
	out, err := w.Bytes()
	if err != nil {
		return nil, fmt.Errorf("append %v: %w", m.verb(), err)
	}
	if size := len(out) - len(b); size > MaxMessage {
		return nil, fmt.Errorf("append %v: %d bytes, the limit is %d", m.verb(), size, MaxMessage)
	}
	return out, nil
}

// Parse decodes one message; it keeps nothing of b. After an error seq is still
// the one of the header, or 0 when not even that could be read.
func Parse(b []byte) (seq uint32, m Message, err error) {
	r := reader{left: cryptobyte.String(b), size: len(b)}
	version, v := r.uint8("version"), verb(r.uint8("verb"))
	seq = r.uint32("seq")
	switch {
	case r.err != nil:
		return 0, nil, fmt.Errorf("parse header: %w", r.err)
	case version != Version:
		return seq, nil, fmt.Errorf("parse header: %w: version %d, want %d", ErrMalformed, version, Version)
	case len(b) > MaxMessage:
		return seq, nil, fmt.Errorf("parse %v: %w: %d bytes, the limit is %d", v, ErrMalformed, len(b), MaxMessage)
	}
	if m = parseBody(v, &r); m == nil {
		return seq, nil, fmt.Errorf("parse header: %w: unknown verb %d", ErrMalformed, uint8(v))
	}
	if r.err == nil && !r.left.Empty() {
		r.fail("end", "bytes follow the message")
	}
	if r.err != nil {
		return seq, nil, fmt.Errorf("parse %v: %w", v, r.err)
	}
	return seq, m, nil
}

// verb numbers a message type.
type verb uint8

const (
	verbAdd verb = 1 + iota
	verbUpdate
	verbDelete
	verbFlush
	verbPolicyAdd
	verbPolicyDelete
	verbDump
	verbStats
	verbInject
	verbHello
	verbAck
	verbUsage
	verbCounters
	verbAcquire
	verbExpire
	verbSilence
	verbPunt
	verbUnknownSPI
	verbKeepalive
	verbAddresses
	verbMoved
	verbHostAddress
	verbTranslations
	verbTranslation
	verbs // how many there are, plus one
)

var verbNames = [verbs]string{
	"no verb", "ADD", "UPDATE", "DELETE", "FLUSH", "POLICY_ADD", "POLICY_DELETE", "DUMP", "STATS", "INJECT",
	"HELLO", "ACK", "USAGE", "COUNTERS", "ACQUIRE", "EXPIRE", "SILENCE", "PUNT", "UNKNOWN_SPI", "KEEPALIVE", "ADDRESSES", "MOVED", "HOST_ADDRESS",
	"TRANSLATIONS", "TRANSLATION",
}

func (v verb) String() string {
	if v >= verbs {
		return fmt.Sprintf("verb %d", uint8(v))
	}
	return verbNames[v]
}

func (Add) verb() verb          { return verbAdd }
func (Update) verb() verb       { return verbUpdate }
func (Delete) verb() verb       { return verbDelete }
func (Flush) verb() verb        { return verbFlush }
func (PolicyAdd) verb() verb    { return verbPolicyAdd }
func (PolicyDelete) verb() verb { return verbPolicyDelete }
func (Dump) verb() verb         { return verbDump }
func (Stats) verb() verb        { return verbStats }
func (HostAddress) verb() verb  { return verbHostAddress }
func (Translations) verb() verb { return verbTranslations }
func (Translation) verb() verb  { return verbTranslation }
func (Inject) verb() verb       { return verbInject }
func (Moved) verb() verb        { return verbMoved }
func (Keepalive) verb() verb    { return verbKeepalive }
func (Addresses) verb() verb    { return verbAddresses }
func (Hello) verb() verb        { return verbHello }
func (Ack) verb() verb          { return verbAck }
func (Usage) verb() verb        { return verbUsage }
func (Counters) verb() verb     { return verbCounters }
func (Acquire) verb() verb      { return verbAcquire }
func (Expire) verb() verb       { return verbExpire }
func (Silence) verb() verb      { return verbSilence }
func (Punt) verb() verb         { return verbPunt }
func (UnknownSPI) verb() verb   { return verbUnknownSPI }

// parseBody decodes by verb; nil for one that does not exist.
func parseBody(v verb, r *reader) Message {
	switch v {
	case verbAdd:
		return Add{SA: r.sa(true)}
	case verbUpdate:
		return r.update()
	case verbDelete:
		return Delete{Direction: r.direction(), Pair: r.spi("pair")}
	case verbFlush:
		return Flush{}
	case verbPolicyAdd:
		return PolicyAdd{Policy: r.policy()}
	case verbPolicyDelete:
		return PolicyDelete{ID: r.policyID()}
	case verbDump:
		return Dump{}
	case verbStats:
		return Stats{}
	case verbTranslations:
		return Translations{}
	case verbTranslation:
		return r.translation()
	case verbHostAddress:
		return HostAddress{r.bool("remove"), r.addr("address")}
	case verbInject:
		return Inject{r.addrPort("local"), r.addrPort("remote"), r.bytes("data")}
	case verbKeepalive:
		return r.keepalive()
	case verbAddresses:
		return r.addresses()
	case verbHello:
		return r.hello()
	case verbAck:
		return Ack{Err: r.text("error")}
	case verbUsage:
		return r.usage()
	case verbCounters:
		return r.counters()
	case verbAcquire:
		return Acquire{r.policyID(), r.flow()}
	case verbSilence:
		return Silence{Pair: r.spi("pair"), LastIn: r.time("last in")}
	case verbExpire:
		return Expire{r.spi("pair"), r.bool("hard"), r.text("cause")}
	case verbPunt:
		return Punt{r.addrPort("local"), r.addrPort("remote"), r.bytes("data")}
	case verbMoved:
		return Moved{r.spi("pair"), r.addrPort("remote")}
	case verbUnknownSPI:
		return r.unknownSPI()
	}
	return nil
}
