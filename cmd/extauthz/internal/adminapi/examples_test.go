package adminapi

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestExamples_WorkAsShown: each example in the document belongs to an operation, and
// its request, sent as it is shown, succeeds.
func TestExamples_WorkAsShown(t *testing.T) {
	b := newBench(t)
	_, _, text := b.callAs("", "GET", "/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody struct {
				Content map[string]struct{ Example json.RawMessage }
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	want[Role](b, 201, "POST", "/v1/roles", `{"name":"a","scopes":[]}`)
	shown := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			body := op.RequestBody.Content["application/json"].Example
			if body == nil {
				continue
			}
			shown++
			id := want[Key](b, 201, "POST", "/v1/keys", alice).ID
			target := strings.NewReplacer("{id}", id, "{name}", "a").Replace(path)
			if status, _, answer := b.call(strings.ToUpper(method), target, string(body)); status >= 300 {
				t.Errorf("%s answers %d: %s", op.OperationID, status, answer)
			}
		}
	}
	if shown != len(examples) {
		t.Errorf("%d examples in the document, want %d", shown, len(examples))
	}
}
