package e2e

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"extauthz/e2e/parts"
)

const floodLasts = 5 * time.Second

// floodRate is how many checks a second go beside cold keys. Where the machine can't
// carry 20,000 with the load on it, every check queues, and that alone is measured:
// FLOOD_RATE asks for fewer.
func floodRate(tb testing.TB) int {
	rate, err := strconv.Atoi(cmp.Or(os.Getenv("FLOOD_RATE"), "20000"))
	if err != nil || rate <= 0 {
		tb.Fatal("FLOOD_RATE is not a number above 0")
	}
	return rate
}

// BenchmarkFlood measures how long cold real keys take: with nothing else going
// on, beside a load of known keys, and beside as large a load of forged ones.
// `make bench-flood` prints it. The two loads cost the machine the same, so
// their difference is what forging brings.
func BenchmarkFlood(b *testing.B) {
	const known, cold = 1000, 3000
	for range b.N {
		s, seeded := guarded(b, known+3*cold)
		want(b, checkAll(b, s, seeded[:known], 8), "granted", known)
		keys := seeded[known:]
		rate := floodRate(b)
		fmt.Printf("cold real keys beside %d checks a second\n", rate)
		var before time.Duration
		for _, beside := range []struct {
			name string
			keys []string
		}{{"nothing", nil}, {"known keys", seeded[:known]}, {"forged keys", forgedKeys(b, rate*int(floodLasts.Seconds()))}} {
			load := startFlood(b, s, beside.keys, rate)
			memory := counter(b, s, "process_resident_memory_bytes")
			took := coldChecks(b, s, keys[:cold])
			keys = keys[cold:]
			sent := load.end()
			p99 := percentile(took, .99)
			fmt.Printf("  beside %-12s %6.0f/s  p50 %8v  p99 %8v  max %8v  memory %+.0f MiB", beside.name, sent,
				percentile(took, .5), p99, percentile(took, 1), (counter(b, s, "process_resident_memory_bytes")-memory)/(1<<20))
			if before != 0 {
				fmt.Printf("  p99 %.2f times the line above", float64(p99)/float64(before))
			}
			fmt.Println()
			before = p99
		}
		s.Kill()
	}
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)].Round(10 * time.Microsecond)
}

// coldChecks checks each key once, spread over the time of a flood, and returns
// the times sorted.
func coldChecks(tb testing.TB, s *parts.Service, keys []string) (took []time.Duration) {
	tb.Helper()
	client := authv3.NewAuthorizationClient(dial(tb, s))
	tick := time.NewTicker(floodLasts / time.Duration(len(keys)))
	defer tick.Stop()
	for _, key := range keys {
		<-tick.C
		start := time.Now()
		res, err := client.Check(tb.Context(), checkRequest(key))
		took = append(took, time.Since(start))
		if err != nil || reason(res) != "granted" {
			tb.Fatalf("%s, %v", reason(res), err)
		}
	}
	slices.Sort(took)
	return took
}

func checkRequest(key string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: "GET", Host: "h", Path: "/orders", Headers: map[string]string{"x-api-key": key}}}}}
}

func dial(tb testing.TB, s *parts.Service) *grpc.ClientConn {
	tb.Helper()
	c, err := grpc.NewClient("passthrough:///"+s.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

// flood is a load at a fixed rate, as far as the machine can.
type flood struct {
	began   time.Time
	stop    context.CancelFunc
	running sync.WaitGroup
	sent    atomic.Int64
}

// raw is a codec that passes bytes through, so that the sender costs little.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) ([]byte, error) {
	return *v.(*[]byte), nil
}
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append((*v.(*[]byte))[:0], data...)
	return nil
}

func startFlood(tb testing.TB, s *parts.Service, keys []string, rate int) *flood {
	tb.Helper()
	ctx, stop := context.WithCancel(tb.Context())
	f := &flood{began: time.Now(), stop: stop}
	if keys == nil {
		return f
	}
	requests := make([][]byte, len(keys))
	for i, key := range keys {
		var err error
		if requests[i], err = proto.Marshal(checkRequest(key)); err != nil {
			tb.Fatal(err)
		}
	}
	const senders = 1000 // a forged check may wait, which must not slow the flood
	pause := time.Second * senders / time.Duration(rate)
	c := dial(tb, s)
	for n := range senders {
		f.running.Go(func() {
			var answer []byte
			next := time.Now().Add(pause * time.Duration(n) / senders)
			for i := n; ctx.Err() == nil; next = next.Add(pause) {
				time.Sleep(time.Until(next))
				if c.Invoke(ctx, "/envoy.service.auth.v3.Authorization/Check", &requests[i%len(requests)], &answer, grpc.ForceCodec(raw{})) == nil {
					f.sent.Add(1)
				}
				i += senders
			}
		})
	}
	return f
}

// end returns how many were answered a second.
func (f *flood) end() float64 {
	took := time.Since(f.began)
	f.stop()
	f.running.Wait()
	return float64(f.sent.Load()) / took.Seconds()
}
