package main

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"spindle/cmd/internal/api"
)

// showCrypto are the words a network engineer already knows (O1).
func showCrypto() *cobra.Command {
	c := &cobra.Command{
		Use:     "crypto",
		Short:   "The same state in the words of Cisco IOS",
		Example: "  spindle show crypto isakmp sa\n  spindle show crypto isakmp peers 192.0.2.8 detail\n  spindle show crypto session",
		Args:    noArguments,
		RunE:    needsCommand,
	}
	isakmp := &cobra.Command{Use: "isakmp", Short: "IKE, either version", Args: noArguments, RunE: needsCommand}
	isakmp.AddCommand(
		cryptoWord("isakmp sa", "[detail]", "IKE security associations", 0, isakmpSAs.show),
		cryptoWord("isakmp peers", "[ADDR] [detail]", "Peers and how alive they are", 1, isakmpPeers.show))
	ipsec := &cobra.Command{Use: "ipsec", Short: "ESP", Args: noArguments, RunE: needsCommand}
	ipsec.AddCommand(cryptoWord("ipsec sa", "[ADDR]", "IPsec security associations with their traffic", 1, ipsecSAs.show))
	c.AddCommand(isakmp, ipsec, cryptoWord("session", "[ADDR]", "Each peer with its IKE and IPsec SAs", 1, showSession))
	return c
}

// cryptoView is what one show crypto command is asked for.
type cryptoView struct {
	*cobra.Command
	client *api.Client
	json   bool
	peer   netip.Addr // zero: every peer
	detail bool
}

// cryptoWord is a command that takes "detail" and, if it may, the address of a peer.
// path is what to type after show crypto.
func cryptoWord(path, arguments, short string, addresses int, show func(*cryptoView) error) *cobra.Command {
	words := strings.Fields(path)
	return &cobra.Command{
		Use:     words[len(words)-1] + " " + arguments,
		Short:   short,
		Example: "  spindle show crypto " + path,
		Args: func(c *cobra.Command, args []string) error {
			_, err := viewOf(c, args, addresses)
			return err
		},
		RunE: func(c *cobra.Command, args []string) error {
			v, err := viewOf(c, args, addresses)
			if err != nil {
				return err
			}
			form, err := outputForm(c)
			if err != nil {
				return err
			}
			v.client, v.json = api.NewClient(runtimeDir(c)), form == "json"
			return show(v)
		},
	}
}

func viewOf(c *cobra.Command, args []string, addresses int) (*cryptoView, error) {
	v := &cryptoView{Command: c}
	for _, word := range args {
		addr, err := netip.ParseAddr(word)
		switch {
		case word == "detail" && !v.detail:
			v.detail = true
		case err == nil && addresses > 0 && !v.peer.IsValid():
			v.peer = addr
		default:
			return nil, usagef("%s does not take %q: it is used as %s", c.CommandPath(), word, c.Use)
		}
	}
	return v, nil
}

// listing is a table of the API in the words of IOS.
type listing[Row any] struct {
	table, none string
	remote      func(*Row) string // the peer's address and port
	columns     []column[Row]     // nil: each row is always told in detail
	detail      func(io.Writer, *Row)
}

func (l listing[Row]) show(v *cryptoView) error {
	rows, err := l.rows(v)
	if err != nil {
		return err
	}
	w := v.OutOrStdout()
	switch {
	case v.json:
		return printJSON(w, rows)
	case len(rows) == 0 || l.columns != nil && !v.detail:
		return printTable(w, l.none, l.columns, rows)
	}
	for i := range rows {
		l.detail(w, &rows[i])
	}
	return nil
}

// rows are those of the peer that was asked for.
func (l listing[Row]) rows(v *cryptoView) ([]Row, error) {
	all, kept := []Row{}, []Row{}
	if err := v.client.Table(v.Context(), l.table, &all); err != nil {
		return nil, err
	}
	for i := range all {
		if !v.peer.IsValid() || addressOf(l.remote(&all[i])) == v.peer {
			kept = append(kept, all[i])
		}
	}
	return kept, nil
}

// addressOf is the address in "address:port", zero if there is none.
func addressOf(s string) netip.Addr {
	ap, _ := netip.ParseAddrPort(s)
	return ap.Addr()
}

// endpoint is "address:port" in the words of IOS.
func endpoint(s string) string {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return plain(s)
	}
	return fmt.Sprintf("%v port %d", ap.Addr(), ap.Port())
}

// isakmpState is the state of an IKE SA as IOS names it: QM_IDLE or READY is one
// that stands.
func isakmpState(version int, state string) string {
	switch {
	case state == "established" && version == 1:
		return "QM_IDLE"
	case state == "established":
		return "READY"
	}
	return strings.ToUpper(strings.ReplaceAll(state, "-", "_"))
}

var isakmpColumns = []column[api.IKESA]{
	{"dst", func(r *api.IKESA) string { return addressOf(ends(r, !r.Initiator)).String() }},
	{"src", func(r *api.IKESA) string { return addressOf(ends(r, r.Initiator)).String() }},
	{"state", func(r *api.IKESA) string { return isakmpState(r.Version, r.State) }},
	{"version", func(r *api.IKESA) string { return fmt.Sprintf("IKEv%d", r.Version) }},
	{"conn", func(r *api.IKESA) string { return r.Conn }},
	{"status", func(r *api.IKESA) string {
		if r.State == "established" {
			return "ACTIVE"
		}
		return "NOT ACTIVE"
	}},
}

// ends is our end, or the peer's: IOS names the initiator as source.
func ends(r *api.IKESA, ours bool) string {
	if ours {
		return r.Local
	}
	return r.Remote
}

var isakmpSAs = listing[api.IKESA]{api.IKESAs, "there are no IKE SAs", func(r *api.IKESA) string { return r.Remote }, isakmpColumns, isakmpDetail}

func isakmpDetail(w io.Writer, r *api.IKESA) {
	fmt.Fprintf(w, "IKEv%d SA: local %s remote %s, state %s, connection %s\n", r.Version, endpoint(r.Local), endpoint(r.Remote), isakmpState(r.Version, r.State), plain(r.Conn))
	fmt.Fprintf(w, "  local id: %s, remote id: %s, we are the %s\n", plain(r.LocalID), plain(r.RemoteID), role(r.Initiator))
	fmt.Fprintf(w, "  encryption, prf and group: %s\n", plain(r.Suite))
	fmt.Fprintf(w, "  initiator spi: %s, responder spi: %s\n", r.SPIi, r.SPIr)
	fmt.Fprintf(w, "  NAT-T: %s, child SAs: %d\n", r.NAT, r.Children)
	fmt.Fprintf(w, "  established for %s, rekey in %s\n", seconds(r.Age), bound(r.RekeyIn))
}

// bound is a time that may not bound anything.
func bound(s float64) string {
	if s == 0 {
		return "none by us"
	}
	return seconds(s)
}

var isakmpPeers = listing[api.Peer]{api.Peers, "there are no peers", func(r *api.Peer) string { return r.Peer }, peerColumns, peerDetail}

// peerDetail prints the figures of D7.
func peerDetail(w io.Writer, r *api.Peer) {
	fmt.Fprintf(w, "Peer: %s Local: %s\n", endpoint(r.Peer), plain(r.Local))
	fmt.Fprintf(w, "  Phase1 id: %s, connection %s, state %s\n", plain(r.ID), plain(r.Conn), r.State)
	fmt.Fprintf(w, "  DPD: %s, interval %s, retry %s, tries %d\n", r.Mode, seconds(r.Interval), seconds(r.Retry), r.Tries)
	if r.Method == methodKeepalive {
		fmt.Fprintln(w, "  the peer announced no DPD: it gets keepalives, and 3 in a row without a sign of life make it dead")
	}
	last := "never"
	if r.LastReceivedS != nil {
		last = seconds(*r.LastReceivedS) + " ago"
	}
	fmt.Fprintf(w, "  last DPD answer: %s, any sign of life: %s\n", last, ago(r.LastProof))
	fmt.Fprintf(w, "  my last seq: 0x%x, peer's last seq: 0x%x, query outstanding: %s (%d/%d unanswered)\n", r.MyLastSeq, r.PeerLastSeq, yes(r.Outstanding), r.Unanswered, r.Tries)
	if r.Rejected > 0 {
		fmt.Fprintf(w, "  rejected for their sequence number: %d\n", r.Rejected)
	}
	fmt.Fprintf(w, "  invalid SPI recovery: %s (%s)\n", yes(r.Recovery), plain(r.RecoveryNote))
}
