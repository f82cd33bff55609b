package adminapi

import (
	"encoding/base64"
	"strings"
)

// A cursor encodes the name of its list and the id of the last element. A cursor of
// another list, or an invented one, is therefore refused instead of being read as a
// position in this list.
const (
	keyCursor           = "key"
	roleCursor          = "role"
	auditCursor         = "audit"
	administratorCursor = "administrator"
)

func cursorOf(list, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(list + ":" + id))
}

// after returns the id in the cursor; "", the beginning of the list, if there is no
// cursor.
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
