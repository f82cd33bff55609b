package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.yaml.in/yaml/v3"

	"extauthz/e2e/parts"
)

const (
	gatewayConnections = 32
	gatewayRate        = 1000 // requests a second, for latencies
)

// gateway measures the total cost of the hop: an Envoy that calls the service is compared
// with one that does not; otherwise their configurations are equal.
func (s *environment) gateway() {
	database := s.seeded(100_000, reference)
	s.within(func(r *run) {
		here := s.on(r)
		x := here.warm(database, false, false, "")
		upstream := startUpstream(r)
		asking, plain := here.startEnvoy(x, upstream, true), here.startEnvoy(x, upstream, false)
		requests := make([]string, len(x.keys))
		for i, key := range x.keys {
			requests[i] = "GET /orders/42?expand=items HTTP/1.1\r\nhost: api.example.com\r\naccept: application/json, text/plain, */*\r\naccept-encoding: gzip, deflate, br\r\n" +
				"accept-language: en-US,en;q=0.9\r\nreferer: https://app.example.com/orders\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/142.0.0.0\r\nx-api-key: " + key + "\r\n\r\n"
		}
		table := newTable("Through Envoy "+s.envoy+": the whole hop", "load", "requests/s, with and without", "Envoy's CPU a request, µs, with and without", "service's CPU, µs", "added CPU, µs (range)", "p50 / p99 / p99.9, ms, with", "without", "added p50, ms (range)")
		for _, rate := range []float64{0, gatewayRate} {
			var with, without []hop
			for round := range s.rounds + 1 {
				lasts := s.turn
				if round == 0 {
					lasts = time.Second
				}
				a := here.send(asking, x.PID(), requests, rate, lasts)
				b := here.send(plain, x.PID(), requests, rate, lasts)
				if round > 0 {
					with, without = append(with, a), append(without, b)
				}
			}
			table.add(hopLine(rate, with, without)...)
			s.say("through Envoy: %s", strings.Join(hopLine(rate, with, without), " | "))
		}
		s.report(table)
		x.Stop()
	})
}

// hop is the result of a turn through an Envoy.
type hop struct {
	turn                  // its cpu is Envoy's
	service time.Duration // CPU time of the service for each request
}

func hopLine(rate float64, with, without []hop) []string {
	turns := func(hops []hop) (t []turn) {
		for _, h := range hops {
			t = append(t, h.turn)
		}
		return t
	}
	var service, added, slower []float64
	for i := range with {
		own := with[i].service.Seconds() * 1e6
		service = append(service, own)
		added = append(added, cpu(with[i].turn)-cpu(without[i].turn)+own)
		slower = append(slower, float64(with[i].at(.5)-without[i].at(.5))/float64(time.Millisecond))
	}
	load := "saturated, " + count(gatewayConnections) + " connections"
	if rate > 0 {
		load = count(int(rate)) + " a second"
	}
	load += failures(turns(with))
	pair := func(format string, of func(turn) float64) string {
		return fmt.Sprintf(format+", "+format, median(turns(with), of), median(turns(without), of))
	}
	a := spreadOf(added)
	return []string{load, pair("%.0f", func(t turn) float64 { return t.perSecond }), pair("%.0f", cpu), fmt.Sprintf("%.0f", spreadOf(service).median),
		fmt.Sprintf("**%.0f** (%.0f–%.0f)", a.median, a.low, a.high), latencies(turns(with)), latencies(turns(without)), spreadOf(slower).String()}
}

// runningEnvoy is a running Envoy.
type runningEnvoy struct {
	address string
	pid     int
}

// startEnvoy runs an Envoy with the configuration that `extauthz envoy bootstrap` prints,
// without the filter unless asks is true.
func (s *environment) startEnvoy(x *service, upstream string, asks bool) runningEnvoy {
	listen, err := parts.FreePort()
	s.must(err)
	admin, err := parts.FreePort()
	s.must(err)
	address := fmt.Sprintf("127.0.0.1:%d", listen)
	bootstrap := x.Must("envoy", "bootstrap", "--upstream", upstream, "--listen", address, "--admin", fmt.Sprintf("127.0.0.1:%d", admin))
	if !asks {
		var tree any
		s.must(yaml.Unmarshal([]byte(bootstrap), &tree))
		if !removeFilter(tree) {
			s.Fatal("the bootstrap has no ext_authz filter")
		}
		text, err := yaml.Marshal(tree)
		s.must(err)
		bootstrap = string(text)
	}
	return runningEnvoy{address, parts.StartEnvoy(s.run, s.envoy, bootstrap, admin).PID()}
}

// removeFilter removes the ext_authz filter wherever it is in a tree.
func removeFilter(tree any) (removed bool) {
	switch node := tree.(type) {
	case map[string]any:
		for name, child := range node {
			if filters, ok := child.([]any); ok && name == "http_filters" {
				node[name] = slices.DeleteFunc(filters, func(f any) bool {
					is := f.(map[string]any)["name"] == "envoy.filters.http.ext_authz"
					removed = removed || is
					return is
				})
				continue
			}
			removed = removeFilter(child) || removed
		}
	case []any:
		for _, child := range node {
			removed = removeFilter(child) || removed
		}
	}
	return removed
}

// startUpstream answers every request on loopback and keeps nothing.
func startUpstream(r *run) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	r.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener; its connections end with Envoy
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				for in := bufio.NewReader(c); ; {
					for line := "-"; line != "\r\n"; {
						if line, err = in.ReadString('\n'); err != nil {
							return
						}
					}
					if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// send drives an Envoy as [target.drive] drives a service.
func (s *environment) send(g runningEnvoy, service int, requests []string, rate float64, lasts time.Duration) hop {
	clock := func(pid int) time.Duration {
		t, err := cpuTime(pid)
		s.must(err)
		return t
	}
	var clients sync.WaitGroup
	var slots, refused atomic.Int64
	var took [gatewayConnections][]time.Duration
	failures := make(chan error, gatewayConnections)
	envoyBefore, serviceBefore := clock(g.pid), clock(service)
	start := time.Now()
	for n := range gatewayConnections {
		clients.Go(func() {
			if err := client(s.ctx, g.address, func() (string, time.Time, bool) {
				i, due := slots.Add(1)-1, time.Now()
				if rate > 0 {
					due = start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
					time.Sleep(time.Until(due))
				}
				return requests[i%int64(len(requests))], due, due.Sub(start) < lasts
			}, &took[n], &refused); err != nil {
				failures <- err
			}
		})
	}
	clients.Wait()
	elapsed := time.Since(start)
	select {
	case err := <-failures:
		s.Fatal(err)
	default:
	}
	h := hop{turn: turn{latencies: slices.Concat(took[:]...)}}
	slices.Sort(h.latencies)
	h.checks, h.failed = len(h.latencies), int(refused.Load())
	if float64(h.failed) > mayFail*float64(h.checks) || h.checks == 0 {
		s.Fatalf("Envoy answered %d requests of %d with 200", h.checks, h.checks+h.failed)
	}
	h.perSecond = float64(h.checks) / elapsed.Seconds()
	h.cpu = (clock(g.pid) - envoyBefore) / time.Duration(h.checks)
	h.service = (clock(service) - serviceBefore) / time.Duration(h.checks)
	return h
}

// client sends the requests that next returns on one connection, one after the other.
func client(ctx context.Context, address string, next func() (request string, due time.Time, more bool), took *[]time.Duration, refused *atomic.Int64) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for in := bufio.NewReader(c); ; {
		request, due, more := next()
		if !more || ctx.Err() != nil {
			return ctx.Err()
		}
		if err := c.SetDeadline(time.Now().Add(checkWithin)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			return err
		}
		if res.StatusCode != http.StatusOK {
			refused.Add(1)
			continue
		}
		*took = append(*took, time.Since(due))
	}
}
