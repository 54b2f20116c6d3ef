package diagnose

import (
	"fmt"
	"strings"
	"time"

	"spindle/cmd/internal/api"
)

// patience is how long an unanswered first message is no cause for concern.
const patience = 2.0 // seconds

// comparePSK is in the reason when the peer fell silent at our proof of identity:
// in IKEv1 who cannot decrypt it says nothing.
const comparePSK = "compare psk"

// refusals tell apart why negotiations fail, by the notification that the peer
// sent or by the configuration key that our own reason names: every reason does
// (DESIGN.md §3). The first that matches counts.
var refusals = [...]struct {
	words                  []string // any of them
	verdict, cause, action string
}{
	{[]string{"XAUTH"}, Authentication,
		"A user's name or password is not accepted",
		"Make xauth or easyvpn at the client and users at the server name the same user and password."},
	{[]string{"AUTHENTICATION_FAILED", "AUTHENTICATION-FAILED", "pre-shared keys differ", comparePSK}, Authentication,
		"Authentication failed: the pre-shared keys differ, or an identity is not the one the other end expects",
		"Write the same psk on both ends, and compare local.id here with remote.id there."},
	{[]string{"configuration key: remote.id", "ID_"}, Identity,
		"The peer has another identity than the one configured",
		"Make remote.id here and the identity of the peer the same."},
	{[]string{"TS_UNACCEPTABLE", "children.local", "children.remote", "INVALID_ID", "INVALID-ID"}, Selectors,
		"The two ends do not agree on the selectors of the child SA",
		"Make children.local here equal to the remote side there, and children.remote equal to the local side there."},
	{[]string{"NO_PROPOSAL_CHOSEN", "NO-PROPOSAL-CHOSEN", "no common proposal", "configuration key: ike", "configuration key: children.esp", "INVALID_KE_PAYLOAD"}, Proposals,
		"The two ends have no algorithms in common",
		"Write one proposal for ike and children.esp that both ends have."},
	{[]string{"configuration key: version", "INVALID_MAJOR_VERSION"}, Version,
		"The two ends speak different versions of IKE",
		"Write the same version on both ends."},
}

// certificate stands before the other refusals: an expired one also shows as a
// failed authentication.
func certificate(f *Facts) finding {
	why := f.Connection.LastError
	if f.Connection.State == Up || !strings.Contains(why, "certificate") {
		return finding{}
	}
	cause, action := "A certificate is not accepted", "Look at which certificate is meant, and renew it or add its authority."
	switch {
	case strings.Contains(why, "expired"):
		cause, action = "A certificate has expired", "Renew the certificate that the reason names, and load it with spindle reload."
	case strings.Contains(why, "not valid before"):
		cause, action = "A certificate is not valid yet", "Look at the clocks of both ends, or wait."
	}
	return finding{says: why, verdict: Certificate, cause: cause + ": " + why + ".", action: action}
}

// negotiation explains the last failure, or the silence of the attempt under way.
func negotiation(f *Facts) finding {
	c := &f.Connection
	if c.State == Up {
		return finding{}
	}
	for _, sa := range f.IKE {
		if sa.Age >= patience && !lately(f, c.Since.Time) {
			if found := opening(f, &sa); found.says != "" {
				return found
			}
		}
	}
	if c.LastError == "" {
		return finding{}
	}
	says := fmt.Sprintf("%s, %s ago%s", c.LastError, f.Now.Sub(c.Since.Time).Round(time.Second), next(f))
	if strings.Contains(c.LastError, "does not answer") && !strings.Contains(c.LastError, comparePSK) {
		return unanswered(f, says)
	}
	for _, r := range refusals {
		for _, word := range r.words {
			if strings.Contains(c.LastError, word) {
				return finding{says: says, verdict: r.verdict, cause: r.cause + ": " + c.LastError + ".", action: r.action}
			}
		}
	}
	if f.established() == nil {
		return finding{says: says, verdict: Refused, cause: "The last negotiation failed: " + c.LastError + ".",
			action: "Look at the peer's log at that time; spindle debug crypto isakmp shows each message."}
	}
	return finding{says: says}
}

// opening explains an attempt that waits for an answer.
func opening(f *Facts, sa *api.IKESA) finding {
	switch {
	case sa.State == "init-sent", sa.State == "opening" && sa.Suite == "":
		return unanswered(f, fmt.Sprintf("the first message to %s is not answered for %.0f s, the next transmission is under way", sa.Remote, sa.Age))
	case sa.State == "opening":
		return finding{says: fmt.Sprintf("%s agreed on %s, and is silent since we said who we are", sa.Remote, sa.Suite), verdict: Authentication,
			cause:  fmt.Sprintf("The peer %s does not answer our proof of identity: in IKEv1 that is how a peer behaves whose pre-shared key differs, or who expects another identity.", sa.Remote),
			action: "Write the same psk on both ends, and compare local.id here with remote.id there."}
	}
	return finding{}
}

// lately tells whether something else failed since the silence could be noted.
func lately(f *Facts, at time.Time) bool { return !at.IsZero() && f.Now.Sub(at).Seconds() < patience }

// next says when we try again.
func next(f *Facts) string {
	if wait := f.Connection.RetryAt.Sub(f.Now); wait > 0 {
		return fmt.Sprintf("; no new attempt for %s", wait.Round(time.Second))
	}
	switch f.Connection.Start {
	case byHand:
		return "; spindle up tries again"
	case "never":
		return "; the peer has to begin"
	}
	return "; the next packet, or spindle up, tries again"
}

// unanswered tells a dead peer from one that lives and whose IKE is lost.
func unanswered(f *Facts, says string) finding {
	p := &f.Path
	switch {
	case p.Host == Answered, f.sendsToLostSPIs():
		evidence := "its host answers other packets"
		if p.Host != Answered {
			evidence = "its ESP still arrives"
		}
		return blocked(p.Peer, says, evidence)
	case p.Host == Unreachable:
		return finding{says: says, verdict: PeerDown,
			cause:  "The peer " + p.Peer + " is down: a router, or this host, says that it cannot be reached.",
			action: "Start the peer, or repair its network."}
	case p.Host == NotAsked && p.Neighbour == NeighbourAnswers && p.NextHop == p.Peer:
		return blocked(p.Peer, says, "it answers on the link")
	}
	return finding{says: says, verdict: NoAnswer,
		cause:  fmt.Sprintf("The peer %s answers neither IKE nor anything else that was sent to it: it is down, or a firewall hides it.", or(p.Peer, f.Connection.Remote)),
		action: "Look whether the peer runs; then capture UDP 500 and 4500 there, to see whether our messages arrive."}
}

func blocked(peer, says, evidence string) finding {
	return finding{says: says, verdict: IKEBlocked,
		cause:  fmt.Sprintf("IKE is blocked: the peer %s does not answer IKE, but %s.", peer, evidence),
		action: "Let UDP 500 and 4500 pass in both directions on every firewall between the two, and look whether IKE runs on the peer."}
}

// recent bounds what still describes the present.
const recent = 30 * time.Second

// sendsToLostSPIs: the peer lives, and holds SAs that we do not.
func (f *Facts) sendsToLostSPIs() bool {
	for _, u := range f.Unknown {
		if f.Now.Sub(u.Last.Time) < recent {
			return true
		}
	}
	return false
}
