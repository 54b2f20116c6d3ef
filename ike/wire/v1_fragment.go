package wire

import "slices"

// V1MaxFragments bounds what reassembly holds of one message.
const V1MaxFragments = 64

// SplitV1 cuts a whole IKEv1 message into messages that carry a fragment of at
// most size octets each. They are in the clear, whatever the message is, and
// have its cookies, exchange and message ID.
func SplitV1(message []byte, id uint16, size int) ([][]byte, error) {
	h, err := ParseHeader(message)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for piece := range slices.Chunk(message, size) {
		if len(list) == V1MaxFragments {
			return nil, &Error{PayloadV1CiscoFragment, 0, ErrTooMany}
		}
		f := V1Fragment{ID: id, Number: uint8(len(list) + 1), Data: piece}
		f.Last = size*int(f.Number) >= len(message)
		b, err := AppendV1Message(nil, h, []Payload{f})
		if err != nil {
			return nil, err
		}
		list = append(list, b)
	}
	return list, nil
}

// JoinV1 puts the fragments of one message together, in whatever order they
// came. It reports false while some are missing.
func JoinV1(fragments []V1Fragment) ([]byte, bool) {
	sorted := slices.SortedFunc(slices.Values(fragments), func(a, b V1Fragment) int { return int(a.Number) - int(b.Number) })
	var message []byte
	for i, f := range sorted {
		if int(f.Number) != i+1 || f.Last != (i == len(sorted)-1) {
			return nil, false
		}
		message = append(message, f.Data...)
	}
	return message, len(sorted) > 0
}
