package adminclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"extauthz/authz"
)

const (
	timeout   = 30 * time.Second
	maxAnswer = 64 << 20 // bytes
)

// Client calls one server with one key. It is safe for concurrent use.
type Client struct {
	server string // the address, as errors name it
	base   string // beginning of every URL
	token  authz.Secret
	http   http.Client
	ahead  atomic.Int64 // how far the server's clock is ahead of this one, in nanoseconds
}

// sameClock is how far the server's Date may differ although the clocks agree: Date has
// whole seconds, and the answer takes time to arrive.
const sameClock = 2 * time.Second

// Now returns the server's time, derived from the Date of its last answer. Before the
// first answer it returns this machine's time.
func (c *Client) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// compareClocks computes from an answer's Date how far the server's clock is ahead.
func (c *Client) compareClocks(header http.Header) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	ahead := time.Until(date)
	if ahead.Abs() < sameClock {
		ahead = 0
	}
	c.ahead.Store(int64(ahead))
}

// New makes a client for a server's address: an http or https URL without a path, or
// unix:PATH. With a socket, TLS is used if secure is not nil. With https, a nil secure
// trusts the system's roots.
func New(server string, token authz.Secret, secure *tls.Config) (*Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = secure
	c := &Client{server: strings.TrimRight(server, "/"), token: token, http: http.Client{Transport: transport}}
	c.base = c.server
	if path, ok := strings.CutPrefix(server, "unix:"); ok && path != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		transport.Proxy = nil
		c.base = "http://localhost"
		if secure != nil {
			c.base = "https://localhost"
		}
		return c, nil
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("server %q: write a URL such as http://127.0.0.1:9003, or unix:PATH", server)
	}
	return c, nil
}

// problem is the API's answer to a refused call.
type problem struct {
	Detail    string
	Title     string
	RequestID string `json:"request_id"`
	Errors    []struct{ Message, Location string }
}

// Call sends in unless it is nil, and decodes the answer into out unless that is nil.
// Each of headers is "name: value". A call takes at most 30 s if ctx has no deadline of
// its own.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, in, out any, headers ...string) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	if _, set := ctx.Deadline(); !set {
		limited, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = limited
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := c.http.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist): // the socket does not exist
		return fmt.Errorf("no server at %s: start one with `extauthz serve`, or name another with --server or EXTAUTHZ_SERVER", c.server)
	case err != nil:
		return fmt.Errorf("server %s does not answer: %w", c.server, errors.Unwrap(err))
	}
	defer func() { _ = res.Body.Close() }()
	c.compareClocks(res.Header)
	answer := io.LimitReader(res.Body, maxAnswer)
	if res.StatusCode >= 400 {
		return refusal(res.StatusCode, answer)
	}
	if out == nil || res.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(answer).Decode(out); err != nil {
		return fmt.Errorf("server %s answered with something else than JSON: is it extauthz's management API?", c.server)
	}
	return nil
}

func refusal(status int, body io.Reader) error {
	var p problem
	if json.NewDecoder(body).Decode(&p) != nil || p.Detail == "" {
		return fmt.Errorf("the server refused with status %d", status)
	}
	text := strings.TrimSuffix(p.Detail, ".")
	for i, e := range p.Errors {
		if i == 0 {
			text = strings.TrimSuffix(text, ": see errors") + ":"
		} else {
			text += ";"
		}
		text += " " + strings.TrimPrefix(e.Location, "body.") + ": " + strings.ReplaceAll(e.Message, "\n", "; ")
	}
	if status == http.StatusUnauthorized {
		text += " (the token comes from EXTAUTHZ_TOKEN, --token-file, or the file that a local serve left)"
	}
	if status >= http.StatusInternalServerError && p.RequestID != "" {
		text += " (request " + p.RequestID + ")" // the server's log has more under this id
	}
	return errors.New(text)
}
