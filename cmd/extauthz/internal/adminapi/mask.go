package adminapi

import (
	"regexp"
	"strings"
)

// A text that may be a secret is long and mixes letters and digits: keys of this service,
// whole or cut off, keys of other products, tokens, digests. Ids of keys and requests
// look like that too, but are no secrets.
var (
	long     = regexp.MustCompile(`[A-Za-z0-9_+=-]{20,}`)
	uuidForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

const masked = "[masked]"

// mask removes from a text for people whatever may be a secret. Texts quote what a client
// sent, names of fields included, and any part of that may be a key in the wrong place.
// Therefore every text is masked when it leaves, not where it is made.
func mask(text string) string {
	return long.ReplaceAllStringFunc(text, func(run string) string {
		if uuidForm.MatchString(run) || !strings.ContainsAny(run, "0123456789") || !strings.ContainsFunc(run, letter) {
			return run
		}
		return masked
	})
}

func letter(r rune) bool { return r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }
