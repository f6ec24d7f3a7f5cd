package config

import (
	"maps"
	"slices"
)

// closest is the known name that name is most likely a misspelling of; "" when none is near.
func closest(name string, known Known, spell func(flag string) string) string {
	best, nearest := "", 3 // more than two slips of the finger are another word
	for _, flag := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, spell(flag)); d < nearest {
			best, nearest = spell(flag), d
		}
	}
	return best
}

// distance is how many characters must be put in, taken out or exchanged to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			changed := diagonal
			if a[i] != b[j] {
				changed++
			}
			diagonal = row[j+1]
			row[j+1] = min(changed, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
