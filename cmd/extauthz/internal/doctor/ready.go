package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"extauthz/cmd/extauthz/internal/conditions"
)

// Ready is what /readyz returns.
type Ready struct {
	OK         bool `json:"-"` // checks should be sent there
	State      string
	Conditions []conditions.Condition
	Config     struct {
		Digest string // "": an older release, or a file with secrets in it
	}
}

// readyBytes is the longest answer of /readyz that is read.
const readyBytes = 1 << 20

// ErrNotExtauthz is about something else than this service that answers.
var ErrNotExtauthz = errors.New("this is no extauthz")

// ReadReady queries an ops listener, such as http://10.0.0.5:9090. It takes no longer
// than answerTimeout. Where something else answers, the error is [ErrNotExtauthz].
func ReadReady(ctx context.Context, base string, transport http.RoundTripper) (ready Ready, err error) {
	client := http.Client{Timeout: answerTimeout, Transport: transport}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return ready, err
	}
	res, err := client.Do(req)
	if err != nil {
		return ready, err
	}
	defer func() { _ = res.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(res.Body, readyBytes)).Decode(&ready); err != nil || ready.State == "" {
		return ready, fmt.Errorf("status %d without a state: %w", res.StatusCode, ErrNotExtauthz)
	}
	ready.OK = res.StatusCode == http.StatusOK
	return ready, nil
}
