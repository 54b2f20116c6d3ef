package bench

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and when a result was taken.
type Machine struct {
	Date       string  `json:"date"`
	Commit     string  `json:"commit"`
	Go         string  `json:"go"`
	Kernel     string  `json:"kernel"`
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	TSCMHz     float64 `json:"tsc_mhz"` // 0 when unknown: then there are no cycles
	Hypervisor bool    `json:"hypervisor"`
	Load       string  `json:"load"` // of the last minute, before the bench
}

// Fingerprint describes this machine. commit is what the binary was built from;
// empty takes what the Go tool noted.
func Fingerprint(commit string) Machine {
	info := cpuInfo()
	m := Machine{
		Date: time.Now().UTC().Format(time.RFC3339), Commit: commit, Go: runtime.Version(), Kernel: kernel(),
		CPU: info["model name"], CPUs: runtime.NumCPU(), Hypervisor: strings.Contains(info["flags"], " hypervisor"),
	}
	if m.Commit == "" {
		m.Commit = builtFrom()
	}
	// The kernel presets loops_per_jiffy from the rate of the TSC
	// (calibrate_delay_is_known, arch/x86/kernel/tsc.c), and shows twice that.
	if mips, err := strconv.ParseFloat(info["bogomips"], 64); err == nil && strings.Contains(info["flags"], " constant_tsc") {
		m.TSCMHz = mips / 2
	}
	if raw, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(raw), " ")
	}
	return m
}

// cycles are TSC cycles, which tick at one rate whatever the core's clock does.
func (m *Machine) cycles(ns float64) float64 { return ns * m.TSCMHz / 1000 }

// cpuInfo is the first processor of /proc/cpuinfo.
func cpuInfo() map[string]string {
	info := map[string]string{}
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return info
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan() && lines.Text() != ""; {
		key, value, _ := strings.Cut(lines.Text(), ":")
		info[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return info
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func builtFrom() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, changed := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	return commit + changed
}
