package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"spindle/cmd/internal/api"
)

var ikeColumns = []column[api.IKESA]{
	{"CONN", func(r *api.IKESA) string { return r.Conn }},
	{"VERSION", func(r *api.IKESA) string { return fmt.Sprintf("IKEv%d", r.Version) }},
	{"EXCHANGE", func(r *api.IKESA) string { return r.Exchange }},
	{"STATE", func(r *api.IKESA) string { return r.State }},
	{"ROLE", func(r *api.IKESA) string { return role(r.Initiator) }},
	{"LOCAL", func(r *api.IKESA) string { return r.Local }},
	{"REMOTE", func(r *api.IKESA) string { return r.Remote }},
	{"REMOTE ID", func(r *api.IKESA) string { return r.RemoteID }},
	{"SUITE", func(r *api.IKESA) string { return r.Suite }},
	{"NAT", func(r *api.IKESA) string { return r.NAT }},
	{"AGE", func(r *api.IKESA) string { return seconds(r.Age) }},
}

var childColumns = []column[api.ChildSA]{
	{"CHILD", func(r *api.ChildSA) string { return r.Conn + "/" + r.Child }},
	{"STATE", func(r *api.ChildSA) string { return r.State }},
	{"SPI IN", func(r *api.ChildSA) string { return r.SPIIn }},
	{"SPI OUT", func(r *api.ChildSA) string { return r.SPIOut }},
	{"SUITE", func(r *api.ChildSA) string { return r.Suite }},
	{"ENCAP", func(r *api.ChildSA) string { return yes(r.Encap) }},
	{"LOCAL", func(r *api.ChildSA) string { return strings.Join(r.LocalTS, " ") }},
	{"REMOTE", func(r *api.ChildSA) string { return strings.Join(r.RemoteTS, " ") }},
	{"MTU", func(r *api.ChildSA) string { return strconv.Itoa(r.MTU) }},
	{"PACKETS IN", func(r *api.ChildSA) string { return whole(r.PacketsIn) }},
	{"PACKETS OUT", func(r *api.ChildSA) string { return whole(r.PacketsOut) }},
	{"BYTES IN", func(r *api.ChildSA) string { return whole(r.BytesIn) }},
	{"BYTES OUT", func(r *api.ChildSA) string { return whole(r.BytesOut) }},
	{"WORKER", func(r *api.ChildSA) string { return strconv.Itoa(r.Worker) }},
	{"AGE", func(r *api.ChildSA) string { return seconds(r.Age) }},
}

var connectionColumns = []column[api.Connection]{
	{"CONN", func(r *api.Connection) string { return r.Name }},
	{"STATE", func(r *api.Connection) string { return r.State }},
	{"REMOTE", func(r *api.Connection) string { return r.Remote }},
	{"CHILD SAS", func(r *api.Connection) string { return strconv.Itoa(r.Children) }},
	{"REASON", func(r *api.Connection) string { return r.Reason }},
	{"LAST ERROR", func(r *api.Connection) string { return r.LastError }},
	{"ERROR WAS", func(r *api.Connection) string { return ago(r.Since) }},
}

var peerColumns = []column[api.Peer]{
	{"PEER", func(r *api.Peer) string { return r.Peer }},
	{"CONN", func(r *api.Peer) string { return r.Conn }},
	{"STATE", func(r *api.Peer) string { return r.State }},
	{"ID", func(r *api.Peer) string { return r.ID }},
	{"DPD", func(r *api.Peer) string { return r.Mode }},
	{"METHOD", func(r *api.Peer) string { return r.Method }},
	{"QUERY OUT", func(r *api.Peer) string { return yes(r.Outstanding) }},
	{"LAST ANSWER", func(r *api.Peer) string { return ago(r.LastReceived) }},
}

var policyColumns = []column[api.Policy]{
	{"PRIORITY", func(r *api.Policy) string { return whole(uint64(r.Priority)) }},
	{"ID", func(r *api.Policy) string { return whole(uint64(r.ID)) }},
	{"ACTION", func(r *api.Policy) string { return r.Action }},
	{"LOCAL", func(r *api.Policy) string { return strings.Join(r.Local, " ") }},
	{"REMOTE", func(r *api.Policy) string { return strings.Join(r.Remote, " ") }},
	{"CHILD", func(r *api.Policy) string { return strings.Trim(r.Conn+"/"+r.Child, "/") }},
	{"SPI OUT", func(r *api.Policy) string { return r.SPIOut }},
}

var workerColumns = []column[api.Worker]{
	{"WORKER", func(r *api.Worker) string { return strconv.Itoa(r.Worker) }},
	{"CPU", func(r *api.Worker) string { return strconv.Itoa(r.CPU) }},
	{"PORTS", func(r *api.Worker) string { return strings.Join(r.Ports, ", ") }},
	{"CRYPTO", func(r *api.Worker) string { return r.Crypto }},
	{"SAS", func(r *api.Worker) string { return strconv.Itoa(r.SAs) }},
	{"PACKETS", func(r *api.Worker) string { return whole(r.Packets) }},
	{"FORWARDED", func(r *api.Worker) string { return whole(r.Forwarded) }},
	{"DROPPED", func(r *api.Worker) string { return whole(r.Dropped) }},
}

var counterColumns = []column[api.Counter]{
	{"SOURCE", func(r *api.Counter) string { return r.Source }},
	{"COUNTER", func(r *api.Counter) string { return r.Name }},
	{"VALUE", func(r *api.Counter) string { return whole(r.Value) }},
}

var leaseColumns = []column[api.Lease]{
	{"ADDRESS", func(r *api.Lease) string { return r.Address }},
	{"OF", func(r *api.Lease) string { return map[bool]string{false: "peer", true: "us"}[r.Ours] }},
	{"CONN", func(r *api.Lease) string { return r.Conn }},
	{"PEER", func(r *api.Lease) string { return r.Peer }},
	{"REMOTE", func(r *api.Lease) string { return r.Remote }},
	{"DNS", func(r *api.Lease) string { return strings.Join(r.DNS, " ") }},
	{"SUBNETS", func(r *api.Lease) string { return strings.Join(r.Subnets, " ") }},
	{"BANNER", func(r *api.Lease) string { return r.Banner }},
}

var unknownColumns = []column[api.UnknownSPI]{
	{"SOURCE", func(r *api.UnknownSPI) string { return r.Source }},
	{"CONN", func(r *api.UnknownSPI) string { return r.Conn }},
	{"SPI", func(r *api.UnknownSPI) string { return r.SPI }},
	{"PACKETS", func(r *api.UnknownSPI) string { return whole(r.Packets) }},
	{"LAST", func(r *api.UnknownSPI) string { return ago(r.Last) }},
}

var rekeyColumns = []column[api.Rekeys]{
	{"CHILD", func(r *api.Rekeys) string { return r.Conn + "/" + r.Child }},
	{"REKEYS", func(r *api.Rekeys) string { return whole(r.Count) }},
	{"GAP µS", func(r *api.Rekeys) string { return whole(uint64(r.GapUS)) }},
	{"GAP PACKETS", func(r *api.Rekeys) string { return whole(r.GapPackets) }},
}

var outcomeColumns = []column[api.Tally]{
	{"CONN", func(r *api.Tally) string { return r.Conn }},
	{"OUTCOME", func(r *api.Tally) string { return r.Outcome }},
	{"COUNT", func(r *api.Tally) string { return whole(r.Count) }},
}

var eventColumns = []column[api.Event]{
	{"TIME", func(r *api.Event) string { return r.Time.Local().Format("2006-01-02 15:04:05.000") }},
	{"LEVEL", func(r *api.Event) string { return r.Level }},
	{"EVENT", func(r *api.Event) string { return r.Event }},
	{"", func(r *api.Event) string { return attributes(r.Attrs) }},
}

func role(initiator bool) string {
	if initiator {
		return "initiator"
	}
	return "responder"
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func whole(v uint64) string { return strconv.FormatUint(v, 10) }

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

func ago(t api.Instant) string {
	if t.IsZero() {
		return "never"
	}
	return max(time.Since(t.Time), 0).Round(time.Second).String() + " ago"
}

func attributes(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		if v == "" || strings.ContainsAny(v, " \t\"=") {
			v = strconv.Quote(v)
		}
		parts = append(parts, k+"="+v)
	}
	return strings.Join(parts, " ")
}
