//go:build kube

package nodes

import (
	"fmt"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

const (
	checkedRate = 100 // requests a second that the service decides about
	controlRate = 50  // and that pass it by
)

// load are both streams.
type load struct {
	checked, control *parts.Stream
	begin            time.Time
}

// startLoad begins a load and returns when it flows.
func startLoad(t *testing.T, address, key string) *load {
	t.Helper()
	l := &load{begin: time.Now(), checked: parts.StartStream("http://"+address+"/orders/42", key, checkedRate),
		control: parts.StartStream("http://"+address+"/unchecked/42", "", controlRate)}
	t.Cleanup(l.end) // also where the test is given up
	l.checked.Flow(checkedRate)
	return l
}

// end stops the load and waits for its last answers.
func (l *load) end() {
	l.checked.Stop()
	l.control.Stop()
}

func (l *load) String() string {
	return fmt.Sprintf("%v; control: %v", l.checked.Summary(l.begin), l.control.Summary(l.begin))
}

// failing is the time between the first and the last checked request that failed.
func (l *load) failing() time.Duration {
	failed := l.checked.Failures()
	if len(failed) == 0 {
		return 0
	}
	return failed[len(failed)-1].At.Sub(failed[0].At)
}
