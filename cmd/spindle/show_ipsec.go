package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"spindle/cmd/internal/api"
)

var ipsecSAs = listing[api.ChildSA]{api.ChildSAs, "there are no IPsec SAs", func(r *api.ChildSA) string { return r.Remote }, nil, ipsecDetail}

func ipsecDetail(w io.Writer, r *api.ChildSA) {
	fmt.Fprintf(w, "connection: %s, child: %s, state %s\n", plain(r.Conn), plain(r.Child), r.State)
	fmt.Fprintf(w, "   local  ident: %s\n   remote ident: %s\n", strings.Join(r.LocalTS, " "), strings.Join(r.RemoteTS, " "))
	fmt.Fprintf(w, "   current_peer %s\n", endpoint(r.Remote))
	fmt.Fprintf(w, "    #pkts encaps: %d, #bytes encaps: %d, #pkts dropped out: %d, last %s\n", r.PacketsOut, r.BytesOut, r.DropsOut, ago(r.LastOut))
	fmt.Fprintf(w, "    #pkts decaps: %d, #bytes decaps: %d, #pkts dropped in: %d, last %s\n", r.PacketsIn, r.BytesIn, r.DropsIn, ago(r.LastIn))
	fmt.Fprintf(w, "    local crypto endpt.: %s, remote crypto endpt.: %s\n", plain(r.Local), plain(r.Remote))
	fmt.Fprintf(w, "    path mtu %s, ip mtu %s\n", unknown(r.PathMTU), unknown(r.MTU))
	for _, line := range r.AccessIn {
		fmt.Fprintf(w, "    access list in: %s\n", line)
	}
	if r.Reordering > 0 {
		fmt.Fprintf(w, "    reordering: %s; a replay window of %d takes all of it\n", depths(r.Late, r.Left), r.Reordering)
	}
	settings := r.Mode
	if r.Encap {
		settings += " UDP-Encaps"
	}
	for _, sa := range []struct{ way, spi, key string }{{"inbound", r.SPIIn, r.KeyIn}, {"outbound", r.SPIOut, r.KeyOut}} {
		fmt.Fprintf(w, "    %s esp sa:\n     spi: %s\n", sa.way, spiText(sa.spi))
		fmt.Fprintf(w, "       transform: %s, in use settings ={%s}, worker %d, key fingerprint %s\n", plain(r.Suite), settings, r.Worker, plain(sa.key))
		fmt.Fprintf(w, "       sa timing: established for %s, rekey in %s, expires in %s\n", seconds(r.Age), bound(r.RekeyIn), bound(r.ExpiresIn))
	}
}

func unknown(bytes int) string {
	if bytes == 0 {
		return "unknown"
	}
	return strconv.Itoa(bytes)
}

// depths writes how far behind packets came: "1: 7, 2-3: 4, 8-15: 2 (1 lost)".
func depths(late, left []uint64) string {
	var words []string
	for i := range max(len(late), len(left)) {
		delivered, lost := element(late, i), element(left, i)
		if delivered+lost == 0 {
			continue
		}
		word := fmt.Sprintf("%d-%d: %d", 1<<i/2, 1<<i-1, delivered+lost)
		if i < 2 {
			word = fmt.Sprintf("%d: %d", i, delivered+lost)
		}
		if lost > 0 {
			word += fmt.Sprintf(" (%d lost)", lost)
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

func element(list []uint64, i int) uint64 {
	if i < len(list) {
		return list[i]
	}
	return 0
}

// spiText shows an SPI as both ends' administrators may have it: 0xHEX(DEC).
func spiText(s string) string {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32)
	if err != nil {
		return plain(s)
	}
	return fmt.Sprintf("0x%X(%d)", n, n)
}

// cryptoSession is one peer of a connection with all its SAs.
type cryptoSession struct {
	Conn     string        `json:"conn"`
	Status   string        `json:"status"` // UP-ACTIVE, UP-IDLE, UP-NO-IKE, DOWN-NEGOTIATING, DOWN
	Peer     string        `json:"peer"`
	Local    string        `json:"local"`
	ID       string        `json:"id"`
	Reason   string        `json:"reason"`
	IKE      []api.IKESA   `json:"ike_sas"`
	Children []api.ChildSA `json:"child_sas"`
}

func showSession(v *cryptoView) error {
	list, err := sessions(v)
	if err != nil {
		return err
	}
	w := v.OutOrStdout()
	if v.json {
		return printJSON(w, list)
	}
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "there are no sessions")
		return err
	}
	fmt.Fprintln(w, "Crypto session current status")
	for i := range list {
		printSession(w, &list[i])
	}
	return nil
}

// sessions joins the tables by peer. A peer behind a NAT is one for each address
// and port.
func sessions(v *cryptoView) ([]cryptoSession, error) {
	peers, err := isakmpPeers.rows(v)
	if err != nil {
		return nil, err
	}
	ike, err := isakmpSAs.rows(v)
	if err != nil {
		return nil, err
	}
	children, err := ipsecSAs.rows(v)
	if err != nil {
		return nil, err
	}
	conns := []api.Connection{}
	if err := v.client.Table(v.Context(), api.Connections, &conns); err != nil {
		return nil, err
	}
	list, place := []cryptoSession{}, map[[2]string]int{}
	at := func(conn, peer, local string) *cryptoSession {
		key := [2]string{conn, peer}
		i, ok := place[key]
		if !ok {
			i = len(list)
			place[key] = i
			list = append(list, cryptoSession{Conn: conn, Peer: peer, Local: local, IKE: []api.IKESA{}, Children: []api.ChildSA{}})
		}
		return &list[i]
	}
	for _, p := range peers {
		if s := at(p.Conn, p.Peer, p.Local); s.ID == "" {
			s.ID = p.ID
		}
	}
	for _, sa := range ike {
		s := at(sa.Conn, sa.Remote, sa.Local)
		s.IKE = append(s.IKE, sa)
	}
	for _, c := range children {
		s := at(c.Conn, c.Remote, c.Local)
		s.Children = append(s.Children, c)
	}
	for i := range list {
		list[i].Status = sessionStatus(&list[i], time.Now())
		for _, c := range conns {
			if c.Name == list[i].Conn {
				list[i].Reason = c.Reason
			}
		}
	}
	return list, nil
}

// idleAfter is how long a session without a packet still counts as active.
const idleAfter = time.Minute

func sessionStatus(s *cryptoSession, now time.Time) string {
	stands, active := false, false
	for _, sa := range s.IKE {
		stands = stands || sa.State == "established"
	}
	for _, c := range s.Children {
		last := c.LastIn.Time
		if c.LastOut.After(last) {
			last = c.LastOut.Time
		}
		active = active || now.Sub(last) < idleAfter || c.Age < idleAfter.Seconds()
	}
	switch {
	case len(s.Children) > 0 && !stands:
		return "UP-NO-IKE"
	case len(s.Children) > 0 && active:
		return "UP-ACTIVE"
	case len(s.Children) > 0 || stands:
		return "UP-IDLE"
	case len(s.IKE) > 0:
		return "DOWN-NEGOTIATING"
	}
	return "DOWN"
}

func printSession(w io.Writer, s *cryptoSession) {
	fmt.Fprintf(w, "\nConnection: %s\nSession status: %s\n", plain(s.Conn), s.Status)
	fmt.Fprintf(w, "Peer: %s id %s\n", endpoint(s.Peer), plain(s.ID))
	if s.Reason != "" && len(s.Children) == 0 {
		fmt.Fprintf(w, "  Reason: %s\n", plain(s.Reason))
	}
	for i := range s.IKE {
		sa := &s.IKE[i]
		state := "Inactive"
		if sa.State == "established" {
			state = "Active"
		}
		fmt.Fprintf(w, "  IKEv%d SA: local %s remote %s %s\n", sa.Version, strings.ReplaceAll(endpoint(sa.Local), " port ", "/"), strings.ReplaceAll(endpoint(sa.Remote), " port ", "/"), state)
	}
	for i := range s.Children {
		c := &s.Children[i]
		fmt.Fprintf(w, "  IPSEC FLOW: permit %s %s\n", strings.Join(c.LocalTS, " "), strings.Join(c.RemoteTS, " "))
		fmt.Fprintf(w, "        Active SAs: 2, child %s, SPIs in %s out %s\n", plain(c.Child), spiText(c.SPIIn), spiText(c.SPIOut))
		fmt.Fprintf(w, "        Inbound:  #pkts dec'ed %d drop %d\n        Outbound: #pkts enc'ed %d drop %d\n", c.PacketsIn, c.DropsIn, c.PacketsOut, c.DropsOut)
	}
}
