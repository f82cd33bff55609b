package envoy

import "slices"

// fewNames is up to how many names are looked through one by one: more than
// ordinary requests have of those that are read.
const fewNames = 32

// places finds the position of a name in a list that grows, so that the time for any
// number of names grows with that number alone. The zero places is ready, and
// allocates nothing for a few names.
type places struct{ many map[string]int }

// find returns the place of name in names; -1 for none.
func (p *places) find(names []string, name string) int {
	if p.many == nil {
		return slices.Index(names, name)
	}
	if i, ok := p.many[name]; ok {
		return i
	}
	return -1
}

// add records that the last of names is new.
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
