package printer

import (
	"fmt"
	"slices"
	"strings"
)

// Form is a form of output.
type Form string

// The forms.
const (
	Table Form = "table"
	Wide  Form = "wide" // a table with all columns, times in full, nothing cut
	JSON  Form = "json"
	YAML  Form = "yaml"
	Name  Form = "name" // one name a line, for other commands to read
)

// Forms lists all forms, in the order of the help.
var Forms = []Form{Table, Wide, JSON, YAML, Name}

// ParseForm parses the name of a form.
func ParseForm(text string) (Form, error) {
	if slices.Contains(Forms, Form(text)) {
		return Form(text), nil
	}
	return "", fmt.Errorf("output %q: write %s", text, Choice(Forms))
}

// Choice lists the words to choose from: a, b or c.
func Choice[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " or " + texts[len(texts)-1]
}
