package authz

// Step is one step of an explained decision. It holds no secret: a key appears
// by its prefix.
type Step struct {
	Name    string `json:"name"`    // "path", "route", "credential", "key", "status", "network", "scopes"
	Outcome string `json:"outcome"` // in a word or two
	Detail  string `json:"detail,omitempty"`
}

// trace collects steps. Every ordinary check has a nil trace, which drops them.
type trace struct{ steps []Step }

func (t *trace) add(name, outcome, detail string) {
	if t != nil {
		t.steps = append(t.steps, Step{Name: name, Outcome: outcome, Detail: detail})
	}
}

// target adds a step about what the route requires.
func (t *trace) target(name, outcome string, d *Decision) {
	if t != nil { // tested here too, so that ordinary checks build no text
		t.add(name, outcome, d.Resource+":"+d.Action)
	}
}
