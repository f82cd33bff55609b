package server

import (
	"bytes"
	"net/http"
)

// maxScrapes limits how many answers are gathered at once. Each takes a copy of all
// metrics.
const maxScrapes = 2

// limitScrapes handles maxScrapes requests at once. It gathers each answer in memory
// first, so that a client that does not read its answer does not make others wait.
func limitScrapes(h http.Handler) http.Handler {
	turns := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turns <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		answer := recorded{header: w.Header(), status: http.StatusOK}
		func() {
			defer func() { <-turns }()
			h.ServeHTTP(&answer, r)
		}()
		w.WriteHeader(answer.status)
		_, _ = w.Write(answer.body.Bytes()) // an error means that the client has left
	})
}

// recorded is an answer that is kept in memory.
type recorded struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorded) Header() http.Header         { return r.header }
func (r *recorded) WriteHeader(status int)      { r.status = status }
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }
