package tun_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"spindle/datapath/tun"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func route(p, src string) tun.Route {
	r := tun.Route{Prefix: prefix(p)}
	if src != "" {
		r.Src = netip.MustParseAddr(src)
	}
	return r
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}

// ip runs iproute2, as an observer that shares no code with us.
func ip(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil && !strings.Contains(string(out), "FIB table does not exist") {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	var lines []string
	if err == nil {
		for line := range strings.Lines(string(out)) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
	}
	slices.Sort(lines)
	return lines
}

func wantRules(t *testing.T, n int) {
	t.Helper()
	got := append(ip(t, "-4", "rule", "list", "priority", "220"), ip(t, "-6", "rule", "list", "priority", "220")...)
	want := slices.Repeat([]string{"220: not from all fwmark 0x5350 lookup 220 proto 83"}, n)
	if !slices.Equal(got, want) {
		t.Errorf("rules are %q, want %d", got, n)
	}
}

func wantRoutes(t *testing.T, want ...string) {
	t.Helper()
	got := append(ip(t, "-4", "route", "show", "table", "220"), ip(t, "-6", "route", "show", "table", "220")...)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " metric")
		got[i] = strings.Replace(got[i], " dev lo proto", " proto", 1) // how IPv6 shows a throw route
	}
	if !slices.Equal(got, want) {
		t.Errorf("routes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRoutesAppearDifferAndDisappear(t *testing.T) {
	enter(t)
	d := open(t)
	wantRules(t, 2)
	wantRoutes(t)
	must(t, d.SetRoutes([]tun.Route{
		route("10.8.8.8/32", "10.6.6.6"), route("10.9.0.0/16", ""), route("2001:db8:8::/48", "2001:db8:6::6"),
	}))
	wantRoutes(t, "10.8.8.8 dev spindle0 proto 83 scope link src 10.6.6.6", "10.9.0.0/16 dev spindle0 proto 83 scope link",
		"2001:db8:8::/48 dev spindle0 proto 83 src 2001:db8:6::6")
	// One stays, one loses its source, one goes, one becomes a bypass, two come.
	must(t, d.SetRoutes([]tun.Route{
		route("10.8.8.8/32", ""), {Prefix: prefix("10.9.0.0/16"), Bypass: true}, route("0.0.0.0/0", "10.6.6.6"), route("::/0", ""),
	}))
	wantRoutes(t, "10.8.8.8 dev spindle0 proto 83 scope link", "default dev spindle0 proto 83 scope link src 10.6.6.6", "throw 10.9.0.0/16 proto 83",
		"default dev spindle0 proto 83")
	must(t, d.SetRoutes([]tun.Route{{Prefix: prefix("2001:db8:8::/48"), Bypass: true}, route("10.9.0.0/16", "")}))
	wantRoutes(t, "10.9.0.0/16 dev spindle0 proto 83 scope link", "throw 2001:db8:8::/48 proto 83")
	must(t, d.SetRoutes([]tun.Route{route("2001:db8:8::/48", "")}))
	wantRoutes(t, "2001:db8:8::/48 dev spindle0 proto 83")
	must(t, d.SetRoutes([]tun.Route{{Prefix: prefix("10.9.0.0/16"), Bypass: true}}))
	must(t, d.Close())
	wantRoutes(t)
	wantRules(t, 0)
}

// What is right already is not touched: a listener hears nothing.
func TestSetRoutesAgainChangesNothing(t *testing.T) {
	enter(t)
	d := open(t)
	routes := []tun.Route{
		route("10.8.8.8/32", "10.6.6.6"), route("0.0.0.0/0", ""), route("2001:db8:8::/48", "2001:db8:6::6"), route("::/0", ""),
		{Prefix: prefix("10.9.0.0/16"), Bypass: true}, {Prefix: prefix("2001:db8:9::/48"), Bypass: true},
	}
	must(t, d.SetRoutes(routes))
	updates, done := make(chan netlink.RouteUpdate, 16), make(chan struct{})
	defer close(done)
	must(t, netlink.RouteSubscribe(updates, done))
	must(t, d.SetRoutes(routes))
	select {
	case u := <-updates:
		t.Errorf("an update: %v", u)
	case <-time.After(100 * time.Millisecond):
	}
}

// The kernel drops routes by itself, and so may an administrator.
func TestSetRoutesRestoresWhatIsMissing(t *testing.T) {
	enter(t)
	d := open(t)
	routes := []tun.Route{route("10.8.8.8/32", "10.6.6.6"), route("10.9.0.0/16", "")}
	want := []string{"10.8.8.8 dev spindle0 proto 83 scope link src 10.6.6.6", "10.9.0.0/16 dev spindle0 proto 83 scope link"}
	must(t, d.SetRoutes(routes))
	ip(t, "route", "del", "10.9.0.0/16", "table", "220")
	must(t, d.SetRoutes(routes))
	wantRoutes(t, want...)
	must(t, netlink.LinkSetDown(linkByName(t, "spindle0")))
	wantRoutes(t)
	must(t, netlink.LinkSetUp(linkByName(t, "spindle0")))
	must(t, d.SetRoutes(routes))
	wantRoutes(t, want...)
}

// A route that the kernel refuses is named, and does not hold up the others.
func TestSetRoutesNamesWhatIsRefused(t *testing.T) {
	enter(t)
	d := open(t)
	err := d.SetRoutes([]tun.Route{route("10.8.8.8/32", "192.0.2.77"), route("10.9.0.0/16", "")})
	if err == nil || !strings.Contains(err.Error(), "route 10.8.8.8/32 src 192.0.2.77: invalid argument") {
		t.Errorf("a source that is not local says %v", err)
	}
	wantRoutes(t, "10.9.0.0/16 dev spindle0 proto 83 scope link")
}

func TestSetRoutesRefuses(t *testing.T) {
	enter(t)
	d := open(t)
	for _, c := range []struct {
		routes []tun.Route
		want   string
	}{
		{[]tun.Route{{}}, "invalid prefix"},
		{[]tun.Route{route("10.0.0.0/8", "2001:db8::1")}, "source 2001:db8::1 is of another family"},
		{[]tun.Route{route("10.0.0.0/8", "10.6.6.6"), route("10.1.0.0/8", "")}, "route 10.0.0.0/8: given twice, and differently"},
	} {
		if err := d.SetRoutes(c.routes); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.routes, err, c.want)
		}
	}
	wantRoutes(t)
}

// With 0.0.0.0/0 protected, this host's packets enter the device, those of a
// marked socket and those for a bypassed network do not.
func TestMarkAndBypassEscapeTheTable(t *testing.T) {
	enter(t)
	addPort(t, "outside", "192.0.2.1/24")
	d := open(t)
	must(t, d.SetRoutes([]tun.Route{route("0.0.0.0/0", "10.6.6.6"), {Prefix: prefix("198.51.100.0/24"), Bypass: true}}))
	for _, c := range []struct {
		to     string
		mark   uint32
		device string
	}{
		{"192.0.2.2", 0, "spindle0"}, {"192.0.2.2", tun.Mark, "outside"}, {"203.0.113.1", 0, "spindle0"},
	} {
		got, err := netlink.RouteGetWithOptions(net.ParseIP(c.to), &netlink.RouteGetOptions{Mark: c.mark})
		must(t, err)
		if link := linkByName(t, c.device); got[0].LinkIndex != link.Attrs().Index {
			t.Errorf("%s with mark %#x leaves by interface %d, want %s", c.to, c.mark, got[0].LinkIndex, c.device)
		}
	}
	if got, err := netlink.RouteGet(net.ParseIP("198.51.100.1")); err == nil {
		t.Errorf("a bypassed network without another route leaves by interface %d", got[0].LinkIndex)
	}
}

const holdEnv = "SPINDLE_TUN_TEST_HOLD"

// TestHold is the process that TestNothingIsLeftAfterKill kills.
func TestHold(t *testing.T) {
	if os.Getenv(holdEnv) == "" {
		t.Skip("started by TestNothingIsLeftAfterKill")
	}
	d, err := tun.Open("spindle0", 1400)
	must(t, err)
	must(t, d.SetRoutes([]tun.Route{route("10.8.8.8/32", ""), {Prefix: prefix("10.9.0.0/16"), Bypass: true}, {Prefix: prefix("2001:db8:9::/48"), Bypass: true}}))
	os.Stdout.WriteString("ready\n")
	time.Sleep(20 * time.Second)
}

func TestNothingIsLeftAfterKill(t *testing.T) {
	enter(t)
	// A rule and a route of somebody else in the same table stay.
	ip(t, "route", "add", "blackhole", "10.77.0.0/16", "table", "220", "proto", "static")
	ip(t, "rule", "add", "from", "10.77.0.1", "lookup", "220", "priority", "300")
	killHolder(t)
	if _, err := netlink.LinkByName("spindle0"); err == nil {
		t.Error("the device outlived its process")
	}
	foreign := "blackhole 10.77.0.0/16 proto static"
	wantRules(t, 2) // these and bypass routes have no device to disappear with
	wantRoutes(t, foreign, "throw 10.9.0.0/16 proto 83", "throw 2001:db8:9::/48 proto 83")

	d := open(t)
	wantRules(t, 2)
	wantRoutes(t, foreign)
	must(t, d.SetRoutes([]tun.Route{route("10.8.8.8/32", "")}))
	must(t, d.Close())
	wantRules(t, 0)
	wantRoutes(t, foreign)
	if got := ip(t, "rule", "list", "priority", "300"); len(got) != 1 {
		t.Errorf("somebody else's rule is gone: %q", got)
	}
}

// killHolder runs this test binary as a process of its own in this network
// namespace until it has a device, and kills it.
func killHolder(t *testing.T) {
	t.Helper()
	holder := exec.Command(os.Args[0], "-test.run=^TestHold$", "-test.v")
	holder.Env = append(os.Environ(), holdEnv+"=1")
	holder.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	out, err := holder.StdoutPipe()
	must(t, err)
	must(t, holder.Start())
	buf, text := make([]byte, 256), ""
	for !strings.Contains(text, "ready") {
		n, err := out.Read(buf)
		if text += string(buf[:n]); err != nil {
			break
		}
	}
	must(t, holder.Process.Kill())
	_ = holder.Wait()
	if !strings.Contains(text, "ready") {
		t.Fatalf("the other process says %q", text)
	}
}
