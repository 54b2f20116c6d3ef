package diagnose

import (
	"spindle/cmd/internal/api"
)

// Verdicts: short and constant, they are label values of the metrics.
const (
	Up              = "up"
	Unknown         = "unknown"
	Unresolved      = "unresolved"
	NoDatapath      = "no-datapath"
	NoRoute         = "no-route"
	PeerDown        = "peer-down"
	NextHopDown     = "next-hop-down"
	IKEBlocked      = "ike-blocked"
	NoAnswer        = "no-answer"
	Authentication  = "authentication"
	Certificate     = "certificate"
	Identity        = "identity"
	Proposals       = "proposals"
	Version         = "version"
	Selectors       = "selectors"
	Refused         = "refused"
	Shadowed        = "policy-shadowed"
	BlackHole       = "unknown-spi"
	Connecting      = "connecting"
	WaitsForTraffic = "waits-for-traffic"
	WaitsForUp      = "waits-for-up"
	WaitsForPeer    = "waits-for-peer"
	NATMapping      = "nat-mapping-lost"
	ESPBlocked      = "esp-blocked"
	MTUBlackHole    = "mtu-black-hole"
)

// byHand is how a connection starts that only the operator brings up.
const byHand = "manual"

// check is one step on the way from the configuration to the packet.
type check struct {
	name string
	look func(*Facts) finding
}

// checks in the order in which things must be right. The first one with a verdict
// is the cause: what fails after it does so because of it.
var checks = [...]check{
	{"configuration", configuration},
	{"policy", policy},
	{"resolution", resolution},
	{"data path", dataPath},
	{"route", route},
	{"next hop", nextHop},
	{"certificate", certificate},
	{"negotiation", negotiation},
	{"liveness", liveness},
	{"IKE SA", ikeSA},
	{"unknown SPIs", unknownSPIs},
	{"child SA", childSA},
	{"NAT", nat},
	{"traffic", traffic},
	{"drops", drops},
	{"MTU", mtu},
	{"worker", worker},
}

// Explain walks the checks.
func Explain(f *Facts) api.Why {
	why := api.Why{Name: f.Connection.Name}
	for _, c := range checks {
		found := c.look(f)
		if found.says != "" {
			why.Evidence = append(why.Evidence, api.Evidence{Check: c.name, Says: found.says})
		}
		if why.Verdict == "" && found.verdict != "" {
			why.Verdict, why.Cause, why.Action = found.verdict, found.cause, found.action
		}
	}
	if why.Verdict != "" {
		return why
	}
	if len(f.installed()) > 0 {
		why.Verdict = Up
		why.Cause = "Nothing is wrong between the two gateways: the tunnel stands and nothing says that packets are lost."
		why.Action = "If hosts still do not reach each other, look at their routes and firewalls behind the gateways."
		if f.counted("drop_access_in")+f.counted("drop_access_out") > 0 {
			why.Action = "If hosts still do not reach each other, look at the access lists here, which have denied packets, and at routes and firewalls behind the gateways."
		}
		return why
	}
	why.Verdict = Unknown
	why.Cause = "Cannot tell: no child SA stands and no check knows why."
	why.Action = "Look at spindle show events, and follow an attempt with spindle debug crypto isakmp while spindle up " + f.Connection.Name + " runs."
	return why
}
