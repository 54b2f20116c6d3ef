package datapath

import (
	"fmt"
	"net/netip"
	"slices"

	"spindle/datapath/nat"
	"spindle/datapath/packet"
	"spindle/sadb"
	"spindle/sadb/keysock"
)

// mappings bounds the mappings of one connection: about a megabyte of memory.
const mappings = 1 << 14

// translation is where mappings belong: to a connection and the address that its
// peer assigned, and to the worker that owns the SAs. The control process keeps
// these on one worker, rekeyed or not. Only when the number of workers changes do
// they move, and begin without mappings.
type translation struct {
	worker  int
	conn    string
	address netip.Addr
}

// translator is its table, and how many inbound SAs use it; outbound ones take it
// from their pair.
type translator struct {
	table *nat.Table
	users int
}

// translate finds or makes the table for an SA, nil if nothing is to be translated.
func (s *Server) translate(sa *sadb.SA) (*nat.Table, error) {
	if !sa.Translate.IsValid() {
		return nil, nil
	}
	own := func(t sadb.Selector) bool { return t.First == sa.Translate && t.Last == sa.Translate && t.AnyPort() }
	if sa.Mode != sadb.Tunnel || len(sa.LocalTS) == 0 || slices.ContainsFunc(sa.LocalTS, func(t sadb.Selector) bool { return !own(t) }) {
		return nil, fmt.Errorf("sa %v: to translate to %v takes tunnel mode, and selectors of that address with any port", sa.SPI, sa.Translate)
	}
	key := translation{sa.Pair.Worker(), sa.Conn, sa.Translate}
	tr := s.translators[key]
	if tr == nil {
		table, err := nat.New(sa.Translate, mappings)
		if err != nil {
			return nil, fmt.Errorf("sa %v: %w", sa.SPI, err)
		}
		tr = &translator{table: table}
		put(&s.translators, key, tr)
		s.assignTables(key.worker)
	}
	tr.users++
	return tr.table, nil
}

// untranslate lets go of an inbound SA's table. Packets under way may still use it.
func (s *Server) untranslate(in *inboundSA) {
	if in.nat == nil {
		return
	}
	key := translation{in.held.sa.Pair.Worker(), in.held.sa.Conn, in.held.sa.Translate}
	tr := s.translators[key]
	if tr.users--; tr.users == 0 {
		delete(s.translators, key)
		s.assignTables(key.worker)
	}
}

// assignTables tells a worker whose figures it has to publish.
func (s *Server) assignTables(worker int) {
	var list []*nat.Table
	for key, tr := range s.translators {
		if key.worker == worker {
			list = append(list, tr.table)
		}
	}
	s.Group.Workers[worker].tables.Store(&list)
}

// Translations emits the state of every table.
func (s *Server) Translations(emit func(keysock.Translation) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, tr := range s.translators {
		u := tr.table.Usage()
		err := emit(keysock.Translation{
			Conn: key.conn, Address: key.address, Worker: key.worker, Bound: u.Bound, TCP: u.TCP, UDP: u.UDP, ICMP: u.ICMP, Other: u.Other,
			Made: u.Made, Full: u.Full, NoMapping: u.NoMapping, Untranslatable: u.Untranslatable,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// publishTables brings the figures of the worker's tables up to date.
func (w *Worker) publishTables() {
	if list := w.tables.Load(); list != nil {
		for _, t := range *list {
			t.Publish(w.now)
		}
	}
}

// translated puts the assigned address in the place of an inside host's, which
// the SPD has looked at, right before the packet is sealed.
func (w *Worker) translated(sa *outboundSA, t *transit) packet.Verdict {
	if sa.nat == nil {
		return packet.Pass
	}
	return sa.nat.Outbound(t.ip, &t.header, w.now)
}

// restored puts the inside host's address back into a decrypted packet, which the
// selectors have looked at.
func (w *Worker) restored(sa *inboundSA, inner []byte) packet.Verdict {
	if sa.nat == nil {
		return packet.Pass
	}
	return sa.nat.Inbound(inner, &w.inner, w.now)
}
