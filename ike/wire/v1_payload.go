package wire

// readV1Chain reads payloads until one says that none follows, and keeps the
// octets of each. b is all that r walks over. An octet that RFC 2408 §3.2
// reserves must be zero: noise from a wrong key mostly ends here.
func readV1Chain(r *reader, next PayloadType, b []byte) (payloads []Payload, octets [][]byte) {
	for next != PayloadNone && r.err == nil {
		if len(payloads) == MaxPayloads {
			r.fail("more than %d payloads: %w", MaxPayloads, ErrTooMany)
			return nil, nil
		}
		r.payload = next
		start := r.offset()
		following, reserved, body := readPayloadHeader(r)
		if r.err == nil && reserved != 0 {
			r.failAt(start+1, "reserved octet %d: %w", reserved, ErrValue)
		}
		if r.err != nil {
			return nil, nil
		}
		p := readV1Payload(next, &body)
		r.join(body)
		payloads = append(payloads, p)
		octets = append(octets, b[start:r.offset()])
		next = following
	}
	if r.err != nil {
		return nil, nil
	}
	return payloads, octets
}

// readV1Payload reads the body of a payload. One of an unknown type is kept as
// it is: there is no critical bit in IKEv1.
func readV1Payload(t PayloadType, r *reader) Payload {
	switch t {
	case PayloadV1SA:
		return readV1SA(r)
	case PayloadV1KE:
		return readV1KE(r)
	case PayloadV1ID:
		return readV1ID(r)
	case PayloadV1Cert:
		return V1Cert{CertEncoding(r.uint8("certificate encoding")), r.rest()}
	case PayloadV1CertRequest:
		return V1CertRequest{CertEncoding(r.uint8("certificate type")), r.rest()}
	case PayloadV1Hash:
		return readV1Hash(r)
	case PayloadV1Signature:
		return V1Signature{r.rest()}
	case PayloadV1Nonce:
		return readV1Nonce(r)
	case PayloadV1Notify:
		return readV1Notify(r)
	case PayloadV1Delete:
		return readV1Delete(r)
	case PayloadV1VendorID:
		return V1VendorID{r.rest()}
	case PayloadV1Attributes:
		return readV1Attributes(r)
	case PayloadV1NATD, PayloadV1NATDDraft:
		return V1NATD{Draft: t == PayloadV1NATDDraft, Hash: r.rest()}
	case PayloadV1NATOA, PayloadV1NATOADraft:
		return readV1NATOA(r, t == PayloadV1NATOADraft)
	case PayloadV1CiscoFragment:
		return readV1Fragment(r)
	}
	return Unknown{Type: t, Data: r.rest()}
}
