package gatewayconfig

import (
	"fmt"

	"extauthz/authz"
	"extauthz/envoy"
)

// Settings are what every printed configuration takes from the service's own.
type Settings struct {
	HeaderPrefix  string // of identity headers; "": x-auth-
	Paths         PathHandling
	KeepOverrides []string // those of envoy.OverrideHeaders that clients may send on
	// Hosts that all rules are for, in lower case and without ports; none: any.
	Hosts []string
}

// defaultHeaderPrefix begins identity headers where no other prefix is set.
const defaultHeaderPrefix = "x-auth-"

func (s Settings) prefix() string {
	if s.HeaderPrefix == "" {
		return defaultHeaderPrefix
	}
	return s.HeaderPrefix
}

// Removed returns expressions for the names of headers that clients may not send on.
func (s Settings) Removed() ([]string, error) {
	prefix := s.prefix()
	if envoy.PrefixTooLong(prefix) {
		return nil, fmt.Errorf("header prefix %q is longer than Envoy's regular expressions may be: write a shorter one", prefix)
	}
	if !envoy.ValidHeaderName(prefix) {
		return nil, fmt.Errorf("header prefix %q: write a lower-case header name", prefix)
	}
	return envoy.RemovedExpressions(prefix, s.KeepOverrides)
}

// problems are what can't be written into YAML.
func (s Settings) problems() (problems []error) {
	if _, err := s.Removed(); err != nil {
		problems = append(problems, err)
	}
	for _, host := range s.Hosts {
		if canonical, ok := authz.CanonicalHost(host); !ok || canonical != host || host == "" {
			problems = append(problems, fmt.Errorf("host %q: write a host name in lower case, without port, such as api.example.com", host))
		}
	}
	return problems
}
