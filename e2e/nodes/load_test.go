//go:build kube

package nodes

import (
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	checkedRate = 100 // requests a second that the service decides about
	controlRate = 50  // and that pass it by
)

// stream is an open loop of requests: one that takes long holds up no other.
type stream struct {
	client *http.Client
	url    string
	key    string
	stop   chan struct{}
	ended  sync.WaitGroup

	mu     sync.Mutex
	sent   int
	took   []time.Duration
	failed []failure
}

// failure is an answer other than 200.
type failure struct {
	at  time.Time // when the request was sent
	why string
}

func startStream(url, key string, rate int) *stream {
	s := &stream{url: url, key: key, stop: make(chan struct{}),
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 500}}}
	s.ended.Add(1)
	go func() {
		defer s.ended.Done()
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.ended.Add(1)
				go s.request()
			}
		}
	}()
	return s
}

func (s *stream) request() {
	defer s.ended.Done()
	begin := time.Now()
	why := s.ask()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	s.took = append(s.took, time.Since(begin))
	if why != "" {
		s.failed = append(s.failed, failure{begin, why})
	}
}

// ask sends one request, and returns why it failed.
func (s *stream) ask() string {
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

// answered is how many requests were answered, however.
func (s *stream) answered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// load are both streams.
type load struct {
	checked, control *stream
	begin            time.Time
	end              func() // stops the load and waits for its last answers
}

// startLoad begins a load and returns when it flows.
func startLoad(t *testing.T, address, key string) *load {
	t.Helper()
	l := &load{begin: time.Now(), checked: startStream("http://"+address+"/orders/42", key, checkedRate), control: startStream("http://"+address+"/unchecked/42", "", controlRate)}
	l.end = sync.OnceFunc(func() {
		close(l.checked.stop)
		close(l.control.stop)
		l.checked.ended.Wait()
		l.control.ended.Wait()
	})
	t.Cleanup(l.end) // also where the trial is given up
	l.flow(checkedRate)
	return l
}

// flow waits until so many more requests were answered.
func (l *load) flow(requests int) {
	for target := l.checked.answered() + requests; l.checked.answered() < target; {
		time.Sleep(10 * time.Millisecond)
	}
}

func (l *load) String() string {
	return fmt.Sprintf("%v; control: %v", l.checked.summary(l.begin), l.control.summary(l.begin))
}

// span is the time between the first and the last failure.
func (s *stream) span() time.Duration {
	if len(s.failed) == 0 {
		return 0
	}
	first, last := s.failed[0].at, s.failed[0].at
	for _, f := range s.failed {
		if f.at.Before(first) {
			first = f.at
		}
		if f.at.After(last) {
			last = f.at
		}
	}
	return last.Sub(first)
}

// summary is what came of an ended stream.
func (s *stream) summary(begin time.Time) string {
	sort.Slice(s.took, func(i, j int) bool { return s.took[i] < s.took[j] })
	at := func(part float64) time.Duration {
		return s.took[int(float64(len(s.took)-1)*part)].Round(100 * time.Microsecond)
	}
	text := fmt.Sprintf("%d sent, %d failed (p50 %v, p99 %v, max %v)", s.sent, len(s.failed), at(.5), at(.99), at(1))
	if len(s.failed) == 0 {
		return text
	}
	sort.Slice(s.failed, func(i, j int) bool { return s.failed[i].at.Before(s.failed[j].at) })
	counts := map[string]int{}
	for _, f := range s.failed {
		counts[f.why]++
	}
	for why, n := range counts {
		text += fmt.Sprintf("; %d× %s", n, why)
	}
	return text + fmt.Sprintf("; from %v to %v after the begin", s.failed[0].at.Sub(begin).Round(time.Millisecond), s.failed[len(s.failed)-1].at.Sub(begin).Round(time.Millisecond))
}
