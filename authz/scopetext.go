package authz

// AppendText appends the scopes as one text, "resource:action" with a space
// between two, in canonical order: by resource, then by action. It allocates
// nothing beyond b.
func (s Scopes) AppendText(b []byte) []byte {
	start := len(b)
	for i := range s {
		for _, action := range s[i].Actions {
			if len(b) > start {
				b = append(b, ' ')
			}
			b = append(append(append(b, s[i].Resource...), ':'), action...)
		}
	}
	return b
}
