package config

import "fmt"

// meant says which of words the operator probably wanted, or names them all.
func meant(got string, words []string) string {
	best, least := "", min(len(got)/3+1, len(got)-2) // two characters are as meant, or it is no likeness
	for _, w := range words {
		if w == "" {
			continue
		}
		if d := distance(got, w); d <= least && (best == "" || d < distance(got, best)) {
			best = w
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "write " + alternatives(words)
}

// distance is how many letters were left out, put in, mistaken or swapped with
// the next one (optimal string alignment); bytes for characters: keys are ASCII.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var older, old, row [longest + 1]int
	for j := range len(b) {
		row[j+1] = j + 1
	}
	for i := range len(a) {
		older, old = old, row
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(row[j]+1, old[j+1]+1, old[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
