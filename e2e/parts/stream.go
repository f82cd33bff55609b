package parts

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Stream is an open loop of requests: a slow request does not delay the others. Its
// methods are safe for concurrent use.
type Stream struct {
	// Stop ends the stream and waits for its last answers. It may be called more than
	// once.
	Stop func()

	client *http.Client
	url    string
	key    string
	ended  sync.WaitGroup

	mu     sync.Mutex
	took   []time.Duration // of each request that has ended
	failed []Failure
}

// Failure is an answer other than 200.
type Failure struct {
	At  time.Time // when the request was sent
	Why string
}

// StartStream sends rate requests a second, with a key unless it is empty.
func StartStream(url, key string, rate int) *Stream {
	stop := make(chan struct{})
	s := &Stream{url: url, key: key, client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 500}}}
	s.Stop = sync.OnceFunc(func() {
		close(stop)
		s.ended.Wait()
	})
	s.ended.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.ended.Go(s.request)
			}
		}
	})
	return s
}

func (s *Stream) request() {
	begin := time.Now()
	why := s.get()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, time.Since(begin))
	if why != "" {
		s.failed = append(s.failed, Failure{begin, why})
	}
}

// get sends one request, and returns why it failed.
func (s *Stream) get() string {
	req, err := http.NewRequest(http.MethodGet, s.url, nil)
	if err != nil {
		return err.Error()
	}
	if s.key != "" {
		req.Header.Set("x-api-key", s.key)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return "no answer: " + err.Error()
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "half an answer: " + err.Error()
	}
	if res.StatusCode == http.StatusOK {
		return ""
	}
	if len(body) == 0 {
		return fmt.Sprintf("%d, empty", res.StatusCode)
	}
	return fmt.Sprintf("%d %.150s", res.StatusCode, strings.TrimSpace(string(body)))
}

// Sent returns how many requests have ended, with an answer or without.
func (s *Stream) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.took)
}

// Flow waits until a number of further requests have ended.
func (s *Stream) Flow(requests int) {
	for target := s.Sent() + requests; s.Sent() < target; {
		time.Sleep(10 * time.Millisecond)
	}
}

// Failures returns the requests that failed, in the order in which they were sent.
func (s *Stream) Failures() []Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed := slices.Clone(s.failed)
	slices.SortFunc(failed, func(a, b Failure) int { return a.At.Compare(b.At) })
	return failed
}

// Summary describes an ended stream. Times of failures count from begin.
func (s *Stream) Summary(begin time.Time) string {
	failed := s.Failures()
	s.mu.Lock()
	took := slices.Sorted(slices.Values(s.took))
	s.mu.Unlock()
	at := func(part float64) time.Duration {
		return took[int(float64(len(took)-1)*part)].Round(100 * time.Microsecond)
	}
	text := fmt.Sprintf("%d sent, %d failed (p50 %v, p99 %v, max %v)", len(took), len(failed), at(.5), at(.99), at(1))
	if len(failed) == 0 {
		return text
	}
	counts := map[string]int{}
	for _, f := range failed {
		counts[f.Why]++
	}
	for why, n := range counts {
		text += fmt.Sprintf("; %d× %s", n, why)
	}
	return text + fmt.Sprintf("; from %v to %v after the begin", failed[0].At.Sub(begin).Round(time.Millisecond), failed[len(failed)-1].At.Sub(begin).Round(time.Millisecond))
}
