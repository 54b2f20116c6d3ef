package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// ticks are what one CPU did since boot, in clock ticks (proc_stat(5)).
type ticks struct{ busy, all uint64 }

// cpuTimes reads /proc/stat, one element a CPU. Softirq, where veth does its
// work, counts as busy; so does what the hypervisor stole.
func cpuTimes() ([]ticks, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return nil, err
	}
	var list []ticks
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || !strings.HasPrefix(fields[0], "cpu") || fields[0] == "cpu" {
			continue
		}
		var t ticks
		for i, word := range fields[1:9] { // user nice system idle iowait irq softirq steal
			n, err := strconv.ParseUint(word, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/stat: %w", err)
			}
			t.all += n
			if i != 3 && i != 4 {
				t.busy += n
			}
		}
		list = append(list, t)
	}
	return list, nil
}

// busy is the share of its time that each CPU worked, 0 to 1.
func busy(before, after []ticks) []float64 {
	var shares []float64
	for i := range min(len(before), len(after)) {
		all := after[i].all - before[i].all
		shares = append(shares, float64(after[i].busy-before[i].busy)/float64(max(all, 1)))
	}
	return shares
}
