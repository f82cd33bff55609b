package envoy

import "slices"

// fewNames is the number of names up to which a list is searched one by one. Of an
// ordinary request, fewer headers are read.
const fewNames = 32

// places finds the index of a name in a list that grows. The time for all names is linear
// in their number. The zero value is ready for use, and allocates nothing for a few
// names.
type places struct{ many map[string]int }

// find returns the index of name in names, or -1 if it is not there.
func (p *places) find(names []string, name string) int {
	if p.many == nil {
		return slices.Index(names, name)
	}
	if i, ok := p.many[name]; ok {
		return i
	}
	return -1
}

// add records the last of names, which the caller has just appended.
func (p *places) add(names []string) {
	if p.many == nil {
		if len(names) <= fewNames {
			return
		}
		p.many = make(map[string]int, 2*len(names))
		for i, name := range names {
			p.many[name] = i
		}
		return
	}
	p.many[names[len(names)-1]] = len(names) - 1
}
