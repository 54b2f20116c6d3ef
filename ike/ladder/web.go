package ladder

import (
	"crypto/x509"
	"net/url"
	"time"

	"spindle/ike/session"
)

// fetch answers at once, with what there is.
func (w *World) fetch(g *Gateway, o session.Fetch) {
	u, err := url.Parse(o.URL)
	if err != nil {
		w.T.Fatal(err)
	}
	answer := session.Fetched{URL: o.URL, Err: "unreachable"}
	if data, ok := w.web[u.Host]; ok {
		answer = session.Fetched{URL: o.URL, Data: data}
	}
	w.Say(g, "fetch from %s", u.Host)
	w.Deliver(w.Now.Add(Latency), g.Name, answer)
}

// publish puts a CRL or an OCSP answer on the web: what=crl or ocsp, revoked=NAME or none.
func (w *World) publish(words Words) {
	all, err := vouched()
	if err != nil {
		w.T.Fatal(err)
	}
	root := all.authorities["root"]
	at := w.Now.Add(-time.Hour)
	switch words["what"] {
	case "crl":
		var gone []*x509.Certificate
		if name := words["revoked"]; name != "" {
			gone = append(gone, all.pairs[name].Chain[0])
		}
		w.web["crl.example"], err = root.CRL(at, gone...)
	case "ocsp":
		w.web["ocsp.example"], err = root.OCSP(at, all.pairs[words["cert"]].Chain[0], words["revoked"] == "yes")
	}
	if err != nil {
		w.T.Fatal(err)
	}
}
