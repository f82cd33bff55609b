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

// floodRate is how many checks a second accompany the checks of uncached keys. If the
// machine can't serve so many, every check queues, and the benchmark would measure only
// that; see BenchmarkFlood. FLOOD_RATE sets another initial rate.
func floodRate(tb testing.TB) int {
	rate, err := strconv.Atoi(cmp.Or(os.Getenv("FLOOD_RATE"), "20000"))
	if err != nil || rate <= 0 {
		tb.Fatal("FLOOD_RATE is not a number above 0")
	}
	return rate
}

// BenchmarkFlood measures how long checks of uncached real keys take: alone, with a load
// of known keys, and with an equal load of forged ones. `make bench-flood` prints it.
// Both loads cost the machine the same, so the difference is the effect of forging. If
// the machine answers less than 95 % of a rate with known keys, the rate is halved, at
// most four times.
func BenchmarkFlood(b *testing.B) {
	const known, cold, halved = 1000, 3000, 4
	for range b.N {
		s, seeded := guarded(b, known+(3+halved)*cold)
		want(b, checkAll(b, s, seeded[:known], 8), "granted", known)
		keys := seeded[known:]
		measure := func(name string, load []string, rate int) (sent float64, p99 time.Duration) {
			f := startFlood(b, s, load, rate)
			memory := counter(b, s, "process_resident_memory_bytes")
			took, undecided := coldChecks(b, s, keys[:cold])
			keys = keys[cold:]
			sent, p99 = f.end(), percentile(took, .99)
			fmt.Printf("  beside %-12s %6.0f/s  p50 %8v  p99 %8v  max %8v  undecided %d  memory %+.0f MiB\n", name, sent,
				percentile(took, .5), p99, percentile(took, 1), undecided, (counter(b, s, "process_resident_memory_bytes")-memory)/(1<<20))
			return sent, p99
		}
		rate := floodRate(b)
		fmt.Println("cold real keys")
		measure("nothing", nil, rate)
		sent, usual := measure("known keys", seeded[:known], rate)
		for n := 0; n < halved && sent < .95*float64(rate); n++ {
			rate /= 2
			fmt.Printf("  the machine does not carry that; now %d checks a second\n", rate)
			sent, usual = measure("known keys", seeded[:known], rate)
		}
		_, p99 := measure("forged keys", forgedKeys(b, rate*int(floodLasts.Seconds())), rate)
		fmt.Printf("  p99 beside %d forged checks a second: %.2f times that beside known keys\n", rate, float64(p99)/float64(usual))
		s.Kill()
	}
}

func percentile(sorted []time.Duration, p float64) time.Duration {
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)].Round(10 * time.Microsecond)
}

// coldChecks checks each key once, spread over the time of a flood. It returns the sorted
// times, and how many checks ended without a decision.
func coldChecks(tb testing.TB, s *parts.Service, keys []string) (took []time.Duration, undecided int) {
	tb.Helper()
	client := authv3.NewAuthorizationClient(dial(tb, s))
	tick := time.NewTicker(floodLasts / time.Duration(len(keys)))
	defer tick.Stop()
	for _, key := range keys {
		<-tick.C
		start := time.Now()
		res, err := client.Check(tb.Context(), checkRequest(key))
		took = append(took, time.Since(start))
		switch {
		case err != nil:
			undecided++
		case reason(res) != "granted":
			tb.Fatalf("a real key: %s", reason(res))
		}
	}
	slices.Sort(took)
	return took, undecided
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

// flood is a load at a fixed rate, or at the highest rate that the machine can send.
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
	const senders = 1000 // a forged check may wait, and this must not slow the flood
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

// end stops the flood and returns how many checks were answered a second.
func (f *flood) end() float64 {
	took := time.Since(f.began)
	f.stop()
	f.running.Wait()
	return float64(f.sent.Load()) / took.Seconds()
}
