package session

import "time"

// Earliest is the first of the times that are set, zero for none.
func Earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// Passed reports whether a time that is set has come.
func Passed(now, t time.Time) bool { return !t.IsZero() && !now.Before(t) }

// Until is how long a time that is set is away.
func Until(now, t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(0, t.Sub(now))
}
