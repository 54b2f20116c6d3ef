package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// pin keeps the calling goroutine on one CPU, the last if negative, until the
// returned function is called.
func pin(cpu int) (unpin func(), err error) {
	runtime.LockOSThread()
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	if cpu < 0 {
		cpu = runtime.NumCPU() - 1
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return nil, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return func() {
		_ = unix.SchedSetaffinity(0, &before)
		runtime.UnlockOSThread()
	}, nil
}

// threadTime is the time that the calling thread has spent on a CPU. Unlike the
// time of day it leaves out what other programs of a shared machine took; what
// they did to the caches, and what the hypervisor took, is in it.
func threadTime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// preferred is a niceness at which the other programs of a busy machine leave the
// CPU to a bench for its seconds, and the kernel's own threads still get it.
const preferred = -15

// prefer makes this process go before others until the returned function is called.
// Where the kernel groups processes by session, niceness counts within one, and it
// is the group that must go first (sched(7), "The autogroup feature").
func prefer() (restore func(), err error) {
	if err := renice(preferred); err != nil {
		return nil, err
	}
	const path = "/proc/self/autogroup"
	group := 0
	if raw, err := os.ReadFile(path); err == nil {
		_, nice, _ := strings.Cut(strings.TrimSpace(string(raw)), " nice ")
		group, _ = strconv.Atoi(nice)
		_ = os.WriteFile(path, []byte(strconv.Itoa(preferred)), 0o644) // without it the bench is only slower
	}
	return func() {
		_ = renice(0)
		_ = os.WriteFile(path, []byte(strconv.Itoa(group)), 0o644)
	}, nil
}

// renice sets the niceness of every thread; those made later inherit it.
func renice(nice int) error {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && err != unix.ESRCH {
			return fmt.Errorf("set niceness %d: %w", nice, err)
		}
	}
	return nil
}
