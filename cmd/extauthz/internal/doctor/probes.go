package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/config"
)

// Probe is a check with a known correct answer.
type Probe struct {
	Name    string // describes the check, such as "an unknown key"
	Request *authv3.CheckRequest
	Judge   func(Decision) (state State, text, remedy string)
}

// Decision is a replica's answer to a check.
type Decision struct {
	Allowed        bool
	Reason, Shadow string // as in the replica's metrics; "" if there is none
}

func (a Decision) String() string {
	verdict := "denied"
	if a.Allowed {
		verdict = "allowed"
	}
	return fmt.Sprintf("%s (%s)", verdict, a.Reason)
}

// unanswered returns the remedy for a listener that does not answer. With TLS 1.3 a
// client whose certificate is refused only sees a closed connection, so the error does
// not show the cause.
func (a *examination) unanswered() string {
	if a.TLS == nil {
		return "see /readyz and the log of the replica; where grpc.tls is on, name the authorities of its certificate by --tls-ca; a NetworkPolicy may refuse the connection too"
	}
	return "see /readyz and the log of the replica; --tls-ca and --tls-name have to fit its certificate, and --tls-cert has to be of grpc.tls.client_ca_file and for a name in grpc.tls.allowed_sans"
}

// path exists in no API, so only a rule for all paths can match it.
const path = "/extauthz-doctor"

// Probes returns the checks that every installation answers alike: one with a well-formed
// key that does not exist, and one without a key. Their form follows the settings of keys
// and credentials.
func Probes(settings *config.Config) ([]Probe, error) {
	format, err := settings.KeyFormat()
	if err != nil {
		return nil, err
	}
	environments := settings.Keys.Environments
	if len(environments) == 0 || len(settings.Credentials) == 0 {
		return nil, errors.New("the configuration names no environment of keys, or no place for a key")
	}
	unknown, _, err := format.Generate(environments[0], rand.Reader)
	if err != nil {
		return nil, err
	}
	target := &url.URL{Scheme: "http", Host: "extauthz.invalid", Path: path}
	return []Probe{
		{Name: "an unknown key", Request: request(http.MethodGet, target, settings.Credentials[0], unknown.Reveal()), Judge: judgeUnknown},
		{Name: "no key", Request: request(http.MethodGet, target, settings.Credentials[0], ""), Judge: judgeMissing},
	}, nil
}

// KeyProbe returns a check with an existing key, for a request that the key allows.
func KeyProbe(settings *config.Config, key authz.Secret, method, target string) (Probe, error) {
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || !strings.HasPrefix(u.Path, "/") {
		return Probe{}, fmt.Errorf("request %q: write 'METHOD URL', such as 'GET https://api.example.com/orders/42'", method+" "+target)
	}
	if len(settings.Credentials) == 0 {
		return Probe{}, errors.New("the configuration names no place for a key")
	}
	return Probe{Name: "the given key", Request: request(method, u, settings.Credentials[0], key.Reveal()), Judge: func(a Decision) (State, string, string) {
		if a.Allowed && a.Reason == authz.ReasonGranted.String() && a.Shadow == "" {
			return OK, a.String(), ""
		}
		return Failed, a.String(), "EXTAUTHZ_KEY=… extauthz explain " + method + " " + target + " names the step that refuses"
	}}, nil
}

const noKeyNeeded = "the rules need no key for any path, so this test shows little: see extauthz routes list"

func judgeUnknown(a Decision) (State, string, string) {
	switch {
	case !a.Allowed && a.Reason == authz.ReasonUnknown.String():
		return OK, a.String(), ""
	case a.Allowed && a.Reason == authz.ReasonAnonymous.String() && a.Shadow == "":
		return Warning, a.String(), noKeyNeeded
	case !a.Allowed && a.Reason == authz.ReasonThrottled.String():
		return Warning, a.String(), "run it again: look-ups of unknown keys are limited, and others use them up"
	}
	return Failed, a.String() + ", not denied (unknown_key)", "see " + a.Reason + " in docs/troubleshooting.md, and the log of the replica"
}

func judgeMissing(a Decision) (State, string, string) {
	switch {
	case !a.Allowed && a.Reason == authz.ReasonMissing.String():
		return OK, a.String(), ""
	case a.Allowed && a.Shadow == authz.ReasonMissing.String():
		return OK, "allowed, since shadow mode is on", ""
	case a.Allowed && a.Reason == authz.ReasonAnonymous.String():
		return Warning, a.String(), noKeyNeeded
	}
	return Failed, a.String() + ", not denied (missing_key)", "see " + a.Reason + " in docs/troubleshooting.md, and the log of the replica"
}

// request makes the message that Envoy sends for a request with key at place, or without
// a key if key is "".
func request(method string, u *url.URL, place config.Credential, key string) *authv3.CheckRequest {
	headers, target := map[string]string{}, *u
	switch {
	case key == "":
	case place.Query != "":
		query := target.Query()
		query.Set(place.Query, key)
		target.RawQuery = query.Encode()
	case place.Cookie != "":
		headers["cookie"] = place.Cookie + "=" + key
	case strings.EqualFold(place.Scheme, "Basic"):
		headers[place.Header] = "Basic " + base64.StdEncoding.EncodeToString([]byte(key+":"))
	case place.Scheme != "":
		headers[place.Header] = place.Scheme + " " + key
	default:
		headers[place.Header] = key
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 1}}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: method, Host: u.Host, Path: target.RequestURI(), Scheme: u.Scheme, Protocol: "HTTP/1.1", Headers: headers}},
	}}
}

// checkClient sends checks to one listener.
type checkClient struct{ authv3.AuthorizationClient }

// dialChecks makes a client for an address. It does not connect before the first check.
func dialChecks(address string, secure *tls.Config) (client checkClient, closing func(), err error) {
	transport := insecure.NewCredentials()
	if secure != nil {
		transport = credentials.NewTLS(secure)
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(transport), grpc.WithUserAgent("extauthz-doctor"))
	if err != nil {
		return checkClient{}, nil, err
	}
	return checkClient{authv3.NewAuthorizationClient(conn)}, func() { _ = conn.Close() }, nil
}

func (c checkClient) check(ctx context.Context, r *authv3.CheckRequest) (Decision, error) {
	res, err := c.Check(ctx, r)
	if err != nil {
		return Decision{}, err
	}
	facts := res.GetDynamicMetadata().GetFields()
	return Decision{Allowed: codes.Code(res.GetStatus().GetCode()) == codes.OK, Reason: facts["reason"].GetStringValue(), Shadow: facts["shadow"].GetStringValue()}, nil // #nosec G115 -- a gRPC code
}
