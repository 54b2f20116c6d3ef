package sadb

import "strings"

// AccessList is what an operator wants of the packets of a child SA beyond its
// selectors (N4). The first line that matches a packet decides, and a packet that no
// line matches is denied. Without any line there is no list, and all pass.
type AccessList []AccessRule

// AccessRule is one line. A side without selectors is any. Fragments that do not show
// their ports match no line that names ports, whatever it says of them.
type AccessRule struct {
	Permit        bool
	Local, Remote []Selector
}

// Permits decides on a packet of one direction: Local is the source of what leaves.
func (l AccessList) Permits(dir Direction, f *Flow) bool {
	local, remote := f.Src, f.Dst
	localPort, remotePort := f.SrcPort, f.DstPort
	if dir == Inbound {
		local, remote = remote, local
		localPort, remotePort = remotePort, localPort
	}
	for i := range l {
		r := &l[i]
		if (len(r.Local) == 0 || matchesAny(r.Local, local, f.Protocol, localPort)) &&
			(len(r.Remote) == 0 || matchesAny(r.Remote, remote, f.Protocol, remotePort)) {
			return r.Permit
		}
	}
	return len(l) == 0
}

// String is the line as people read it: "permit 10.6.6.0/24[tcp/443] and any", the local side first.
func (r AccessRule) String() string {
	word := "deny "
	if r.Permit {
		word = "permit "
	}
	return word + sideText(r.Local) + " and " + sideText(r.Remote)
}

func sideText(list []Selector) string {
	if len(list) == 0 {
		return "any"
	}
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = s.String()
	}
	return strings.Join(words, ",")
}
