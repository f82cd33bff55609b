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

// Ready is the answer of /readyz.
type Ready struct {
	OK         bool `json:"-"` // gateways should send checks to this replica
	State      string
	Conditions []conditions.Condition
	Config     struct {
		Digest string // "" from an older release, or if the file contains secrets
	}
}

// readyBytes is how much of an answer is read at most.
const readyBytes = 1 << 20

// ErrNotExtauthz reports that another program answered.
var ErrNotExtauthz = errors.New("this is no extauthz")

// ReadReady queries /readyz of an ops listener, such as http://10.0.0.5:9090. It takes at
// most answerTimeout. If another program answers, the error is [ErrNotExtauthz].
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
