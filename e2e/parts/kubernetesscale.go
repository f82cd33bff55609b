package parts

import (
	"encoding/json"
	"net/http"
	"net/url"
)

// Scale sets the number of replicas as `kubectl scale` and autoscalers do: by the
// subresource, under the name of another field manager.
func (k *Kubernetes) Scale(o Object, replicas int, manager string) {
	k.tb.Helper()
	text, err := json.Marshal(map[string]any{"spec": map[string]any{"replicas": replicas}})
	if err == nil {
		_, err = k.request(http.MethodPatch, o.path()+"/scale?fieldManager="+url.QueryEscape(manager), "application/merge-patch+json", text)
	}
	if err != nil {
		k.tb.Fatal(err)
	}
}
