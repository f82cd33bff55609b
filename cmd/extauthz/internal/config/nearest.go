package config

import (
	"reflect"
	"strings"
)

// suggest returns a hint for a name that does not exist. It suggests the most similar
// name in the section or in the whole tree, else a setting elsewhere whose last part is
// similar, else it lists all names of the section.
func suggest(section reflect.Type, prefix, name string) string {
	var siblings, last []string
	for _, f := range fieldsOf(section) {
		siblings = append(siblings, f.name)
	}
	all := settingNames(reflect.TypeFor[Config](), "")
	for _, known := range all {
		last = append(last, known[strings.LastIndexByte(known, '.')+1:])
	}
	here, d := nearest(name, siblings)
	anywhere, e := nearest(join(prefix, name), all)
	elsewhere, _ := nearest(name, last)
	if strings.HasSuffix(prefix, "]") { // settings elsewhere can't be meant in an element of a list
		anywhere, elsewhere = -1, -1
	}
	switch {
	case here >= 0 && (anywhere < 0 || d <= e):
		return "did you mean " + join(prefix, siblings[here]) + "?"
	case anywhere >= 0:
		return "did you mean " + all[anywhere] + "?"
	case elsewhere >= 0:
		return "did you mean " + all[elsewhere] + "?"
	default:
		return "known here: " + strings.Join(siblings, ", ")
	}
}

// Nearest returns the known name that was probably meant, or "".
func Nearest(name string, known []string) string {
	i, _ := nearest(name, known)
	if i < 0 {
		return ""
	}
	return known[i]
}

// nearest returns the index of the known name that needs the fewest edits, and their
// number. The index is -1 if every known name needs more than a third of the name's
// length, plus one.
func nearest(name string, known []string) (index, edits int) {
	index, edits = -1, len(name)/3+2
	for i, k := range known {
		if d := editDistance(strings.ToLower(name), k); d < edits {
			index, edits = i, d
		}
	}
	return index, edits
}

// editDistance counts how many insertions, deletions and replacements of a byte, and
// swaps of neighbouring bytes, turn a into b (optimal string alignment).
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
