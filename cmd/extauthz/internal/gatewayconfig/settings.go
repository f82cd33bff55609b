package gatewayconfig

import (
	"fmt"

	"extauthz/authz"
	"extauthz/envoy"
)

// Settings holds what every printed configuration needs of the service's own.
type Settings struct {
	HeaderPrefix  string // of identity headers; "" stands for x-auth-
	Paths         PathHandling
	KeepOverrides []string // headers of envoy.OverrideHeaders that clients may send on
	// Hosts are the only hosts of the rules, in lower case, without ports; none: any.
	Hosts []string
}

// defaultHeaderPrefix is the prefix of identity headers if no other is set.
const defaultHeaderPrefix = "x-auth-"

func (s Settings) prefix() string {
	if s.HeaderPrefix == "" {
		return defaultHeaderPrefix
	}
	return s.HeaderPrefix
}

// Removed returns expressions that match the names of headers that clients may not send
// on.
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

// problems reports values that can't be written into YAML.
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
