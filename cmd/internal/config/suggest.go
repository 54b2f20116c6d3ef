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

// distance is Levenshtein's, bytes for characters: keys are ASCII.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
