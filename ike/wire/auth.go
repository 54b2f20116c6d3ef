package wire

// CERT is the Certificate payload (RFC 7296 §3.6).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Cert Encoding |                                               |
//	+-+-+-+-+-+-+-+-+                                               |
//	~                       Certificate Data                        ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type CERT struct {
	Encoding CertEncoding
	Data     []byte
}

func (CERT) PayloadType() PayloadType { return PayloadCERT }

func readCERT(r *reader) Payload {
	return CERT{CertEncoding(r.uint8("certificate encoding")), r.rest()}
}

func (p CERT) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Encoding)), p.Data...), nil
}

// CERTREQ is the Certificate Request payload (RFC 7296 §3.7). With
// CertX509Signature, Authorities is a row of SHA-1 hashes of public keys.
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Cert Encoding |                                               |
//	+-+-+-+-+-+-+-+-+                                               |
//	~                    Certification Authority                    ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type CERTREQ struct {
	Encoding    CertEncoding
	Authorities []byte
}

func (CERTREQ) PayloadType() PayloadType { return PayloadCERTREQ }

func readCERTREQ(r *reader) Payload {
	return CERTREQ{CertEncoding(r.uint8("certificate encoding")), r.rest()}
}

func (p CERTREQ) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Encoding)), p.Authorities...), nil
}

// AUTH is the Authentication payload (RFC 7296 §3.8).
//
//	                     1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	| Auth Method   |                RESERVED                       |
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//	~                      Authentication Data                      ~
//	+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
type AUTH struct {
	Method AuthMethod
	Data   []byte
}

func (AUTH) PayloadType() PayloadType { return PayloadAUTH }

func readAUTH(r *reader) Payload {
	p := AUTH{Method: AuthMethod(r.uint8("auth method"))}
	r.bytes(3, "reserved")
	p.Data = r.rest()
	return p
}

func (p AUTH) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Method), 0, 0, 0), p.Data...), nil
}
