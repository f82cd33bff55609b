package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

const (
	streams     = 64 // checks in flight, over all connections
	connections = 2  // Envoy keeps one for each worker thread
	checkWithin = 5 * time.Second
	// lookEvery: while time is measured, one in so many answers is checked. In the load
	// before that, each answer is.
	lookEvery = 64
	// mayFail is the fraction of checks that may end in an error, since on a busy machine
	// some checks wait for longer than their deadline. Errors are reported.
	mayFail = .05
)

// The ways in which a request is picked.
const (
	pickUniform = "uniform"
	pickZipf    = "zipf" // s = 1.1: few keys make most requests, as in real traffic
)

// target is a server that answers checks.
type target struct {
	name        string
	pid         int
	connections []*grpc.ClientConn
}

// dial connects to a server at host:port or unix:PATH and waits until it answers.
func dial(r *run, name, address string, pid int) *target {
	t := &target{name: name, pid: pid}
	if address[0] != '/' && address[:5] != "unix:" {
		address = "passthrough:///" + address
	}
	for range connections {
		c, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(frames{})))
		r.must(err)
		r.Cleanup(func() { _ = c.Close() })
		ctx, cancel := context.WithTimeout(r.ctx, checkWithin)
		in, out := []byte{}, []byte{}
		err = c.Invoke(ctx, authv3.Authorization_Check_FullMethodName, &in, &out, grpc.WaitForReady(true))
		cancel()
		if err != nil {
			r.Fatalf("%s does not answer: %v", name, err)
		}
		t.connections = append(t.connections, c)
	}
	return t
}

// load describes the requests that a target gets in a turn.
type load struct {
	requests [][]byte
	pick     string
	rate     float64 // checks a second; 0: as many as it can
	lasts    time.Duration
	reason   string // the reason that answers must have; "": they allow, without one
	looks    int    // one in so many answers is checked
}

// turn is the result of one turn of one target.
type turn struct {
	checks    int // answered
	failed    int // ended in an error: no decision in time
	perSecond float64
	cpu       time.Duration // CPU time of the server for each check
	latencies []time.Duration
}

// at returns the latency that a fraction p of the checks did not exceed.
func (t turn) at(p float64) time.Duration {
	return t.latencies[min(int(p*float64(len(t.latencies))), len(t.latencies)-1)]
}

// drive loads the target. At a fixed rate the loop is open: a latency counts from the
// moment at which the check was due. So a server that stalls is charged for the checks
// that were due meanwhile.
func (t *target) drive(ctx context.Context, l load) (turn, error) {
	var (
		workers sync.WaitGroup
		slots   atomic.Int64
		errored atomic.Int64
		failed  atomic.Value // an answer that is wrong
		last    atomic.Value // the last error
		took    [streams][]time.Duration
	)
	before, err := cpuTime(t.pid)
	if err != nil {
		return turn{}, err
	}
	start := time.Now()
	end := start.Add(l.lasts)
	for w := range streams {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), uint64(start.UnixNano())))
			zipf := rand.NewZipf(random, 1.1, 8, uint64(len(l.requests)-1))
			c, answer := t.connections[w%connections], []byte(nil)
			for n := 0; ctx.Err() == nil && failed.Load() == nil; n++ {
				due := time.Now()
				if l.rate > 0 {
					due = start.Add(time.Duration(float64(slots.Add(1)-1) / l.rate * float64(time.Second)))
					time.Sleep(time.Until(due))
				}
				if !due.Before(end) {
					return
				}
				i := random.IntN(len(l.requests))
				if l.pick == pickZipf {
					i = int(zipf.Uint64())
				}
				call, cancel := context.WithTimeout(ctx, checkWithin)
				err := c.Invoke(call, authv3.Authorization_Check_FullMethodName, &l.requests[i], &answer)
				cancel()
				if err != nil {
					errored.Add(1)
					last.Store(err)
					continue
				}
				took[w] = append(took[w], time.Since(due))
				if n%l.looks != 0 {
					continue
				}
				if err := l.look(answer); err != nil {
					failed.CompareAndSwap(nil, fmt.Errorf("%s: %w", t.name, err))
				}
			}
		})
	}
	workers.Wait()
	elapsed := time.Since(start)
	after, err := cpuTime(t.pid)
	if err != nil {
		return turn{}, err
	}
	if err, ok := failed.Load().(error); ok {
		return turn{}, errors.Join(ctx.Err(), err)
	}
	result := turn{failed: int(errored.Load()), latencies: slices.Concat(took[:]...)}
	slices.Sort(result.latencies)
	result.checks = len(result.latencies)
	if float64(result.failed) > mayFail*float64(result.checks) || result.checks == 0 {
		err, _ := last.Load().(error)
		return turn{}, errors.Join(ctx.Err(), fmt.Errorf("%s failed at %d of %d checks: %w", t.name, result.failed, result.checks+result.failed, err))
	}
	result.perSecond = float64(result.checks) / elapsed.Seconds()
	result.cpu = (after - before) / time.Duration(result.checks)
	return result, ctx.Err()
}

// look checks that an answer is right: the speed of a wrong answer is no figure.
func (l load) look(answer []byte) error {
	var res authv3.CheckResponse
	if err := proto.Unmarshal(answer, &res); err != nil {
		return err
	}
	reason := res.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	granted := l.reason == "" || l.reason == kinds["allow"]
	if reason != l.reason || granted != (res.GetStatus().GetCode() == 0) {
		return fmt.Errorf("answered %q (code %d), which should be %q", reason, res.GetStatus().GetCode(), l.reason)
	}
	return nil
}
