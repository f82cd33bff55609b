package adminapi

import (
	"encoding/base64"
	"strings"
)

// A cursor is opaque: the list that it belongs to and the last element's id, encoded.
// So a cursor of another list, or an invented one, is refused and never read as
// a position in this one.
const (
	keyCursor           = "key"
	roleCursor          = "role"
	auditCursor         = "audit"
	administratorCursor = "administrator"
)

func cursorOf(list, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + ":" + id))
}

// after is the id that a cursor of the list stands for; none stands for the beginning.
func (p Paging) after(list string) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(p.Cursor)
	id, ok := strings.CutPrefix(string(text), list+":")
	if err != nil || !ok || id == "" || !storable(id) {
		return "", newProblem(CodeInvalidCursor, "cursor is not from an answer to this list: send next_cursor of the page before as it is, or none for the first page")
	}
	return id, nil
}
