package parts

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// Span is a received span, over either protocol.
type Span struct {
	Trace, ID, Parent string // hexadecimal; a trace has 32 digits
	Name              string
	Service           string // service.name; "" if the span came by Zipkin's protocol
	Failed            bool
	Attributes        map[string]string // only those with text values
}

// Collector receives spans by OTLP over gRPC, and in Zipkin's JSON over HTTP.
type Collector struct {
	OTLP, Zipkin string // host:port

	tracev1.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []Span
}

// StartCollector listens on free ports until the test ends; options are those of its gRPC
// server.
func StartCollector(tb testing.TB, options ...grpc.ServerOption) *Collector {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	c := &Collector{OTLP: l.Addr().String()}
	server := grpc.NewServer(options...)
	tracev1.RegisterTraceServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(l); err != nil {
			tb.Errorf("collector: %v", err)
		}
	})
	zipkin := httptest.NewServer(http.HandlerFunc(c.zipkin))
	c.Zipkin = strings.TrimPrefix(zipkin.URL, "http://")
	tb.Cleanup(func() { server.Stop(); serving.Wait(); zipkin.Close() })
	return c
}

// Export implements OTLP's service.
func (c *Collector) Export(_ context.Context, r *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	for _, resource := range r.GetResourceSpans() {
		service := ""
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				attributes := map[string]string{}
				for _, a := range s.GetAttributes() {
					attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				c.add(Span{Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
					Name: s.GetName(), Service: service, Failed: s.GetStatus().GetCode() == 2, Attributes: attributes})
			}
		}
	}
	return &tracev1.ExportTraceServiceResponse{}, nil
}

func (c *Collector) zipkin(w http.ResponseWriter, r *http.Request) {
	var spans []struct {
		Trace      string            `json:"traceId"`
		ID         string            `json:"id"`
		Parent     string            `json:"parentId"`
		Name       string            `json:"name"`
		Attributes map[string]string `json:"tags"`
	}
	if err := json.NewDecoder(r.Body).Decode(&spans); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, s := range spans {
		s.Trace = strings.Repeat("0", max(32-len(s.Trace), 0)) + s.Trace // an id of 64 bits is the lower half
		c.add(Span{Trace: s.Trace, ID: s.ID, Parent: s.Parent, Name: s.Name, Attributes: s.Attributes})
	}
	w.WriteHeader(http.StatusAccepted)
}

func (c *Collector) add(s Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spans = append(c.spans, s)
}

// Spans returns those that have arrived so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}
