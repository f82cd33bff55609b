package envoy

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"text/template"

	"extauthz/authz"
)

var (
	//go:embed istio.yaml.tmpl
	istioTemplate string
	//go:embed istio-mesh.yaml.tmpl
	istioMeshTemplate string
	//go:embed envoygateway.yaml.tmpl
	envoyGatewayTemplate string
)

// KubernetesService is a port of a Service.
type KubernetesService struct {
	Namespace, Name string
	Port            uint16
}

// ParseKubernetesService reads NAMESPACE/NAME:PORT.
func ParseKubernetesService(text string) (KubernetesService, error) {
	namespace, rest, _ := strings.Cut(text, "/")
	name, digits, _ := strings.Cut(rest, ":")
	port, err := strconv.ParseUint(digits, 10, 16)
	s := KubernetesService{namespace, name, uint16(port)}
	if err != nil || s.validate() != nil {
		return KubernetesService{}, fmt.Errorf("service %q: write NAMESPACE/NAME:PORT", text)
	}
	return s, nil
}

func (s KubernetesService) validate() error {
	if s.Port == 0 {
		return errors.New("service: a port from 1 to 65535 is missing")
	}
	return errors.Join(objectName("service's namespace", s.Namespace), objectName("service", s.Name))
}

// Istio is what Istio's objects are made from.
type Istio struct {
	Service         KubernetesService // this service's gRPC listener
	Sidecar         bool              // the workload's sidecars ask; false: it is an ingress gateway
	Namespace, Name string            // of the objects; the namespace is the workload's
	Label, Value    string            // that the workload's pods carry
	HeaderPrefix    string            // of identity headers; "": x-auth-
	Paths           PathHandling
	Hosts           []string // that all rules are for, to name in a comment; none: any
	KeepOverrides   []string // those of OverrideHeaders that clients may send on
}

// Removed are expressions for the names of headers that clients may not send on.
func (i Istio) Removed() ([]string, error) { return removedNames(i.HeaderPrefix, i.KeepOverrides) }

// Gateway tells whether an ingress gateway asks.
func (i Istio) Gateway() bool { return !i.Sidecar }

// WriteIstioMesh writes the part of Istio's mesh configuration that names the
// service, as the provider extauthz.
func WriteIstioMesh(w io.Writer, i Istio) error {
	if err := i.Service.validate(); err != nil {
		return err
	}
	return execute(w, "istio-mesh", istioMeshTemplate, i)
}

// WriteIstio writes the objects by which a workload asks that provider, with the
// settings that keep doors shut.
func WriteIstio(w io.Writer, i Istio) error {
	i.HeaderPrefix = prefixOrDefault(i.HeaderPrefix)
	_, err := i.Removed()
	problems := append(hostProblems(i.Hosts), objectName("namespace", i.Namespace), objectName("name", i.Name), label(i.Label, i.Value), err)
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, "istio", istioTemplate, i)
}

// Gateway is what Envoy Gateway's objects are made from.
type Gateway struct {
	Service            KubernetesService // this service's gRPC listener
	Namespace, Gateway string            // the Gateway whose routes are protected
	HeaderPrefix       string            // of identity headers; "": x-auth-
	Paths              PathHandling
	KeepOverrides      []string // those of OverrideHeaders that clients may send on
	// The DNS name in the service's certificate, and the ConfigMap beside the
	// Service that holds its authorities; both "": plain text.
	TLSName, TLSAuthorities string
	// AllowedHeaders are the request headers that decisions rest on. An entry
	// that ends in "*" is a prefix: Envoy Gateway can't send those on, and what is
	// under the identity prefix it removes before.
	AllowedHeaders []string
	// Hosts that all rules are for, to name in a comment; none: any.
	Hosts []string
}

// Removed are expressions for the names of headers that clients may not send on.
func (g Gateway) Removed() ([]string, error) { return removedNames(g.HeaderPrefix, g.KeepOverrides) }

// Headers are those of AllowedHeaders that can be sent on.
func (g Gateway) Headers() (names []string) {
	for _, name := range g.AllowedHeaders {
		if !strings.HasSuffix(name, "*") {
			names = append(names, name)
		}
	}
	return names
}

// WriteGateway writes the objects by which the routes of a Gateway ask the
// service, with the settings that keep doors shut.
func WriteGateway(w io.Writer, g Gateway) error {
	g.HeaderPrefix = prefixOrDefault(g.HeaderPrefix)
	_, err := g.Removed()
	problems := []error{g.Service.validate(), objectName("namespace", g.Namespace), objectName("gateway", g.Gateway), err}
	problems = append(problems, hostProblems(g.Hosts)...)
	if len(g.Headers()) == 0 {
		problems = append(problems, errors.New("no headers to send on: every request would look as if it had no key"))
	}
	problems = append(problems, tlsProblems(g.TLSName, g.TLSAuthorities)...)
	for _, name := range g.Headers() {
		if !validName(name) {
			problems = append(problems, fmt.Errorf("header %q: write a lower-case header name", name))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return err
	}
	return execute(w, "envoy-gateway", envoyGatewayTemplate, g)
}

// hostProblems refuses what is no host of a rule: it would be written into YAML.
func hostProblems(hosts []string) (problems []error) {
	for _, host := range hosts {
		if canonical, ok := authz.CanonicalHost(host); !ok || canonical != host || host == "" {
			problems = append(problems, fmt.Errorf("host %q: write a host name in lower case, without port, such as api.example.com", host))
		}
	}
	return problems
}

func execute(w io.Writer, name, text string, data any) error {
	t, err := template.New(name).Funcs(template.FuncMap{"word": yamlWord}).Parse(text)
	if err != nil {
		return err
	}
	return t.Execute(w, data)
}

func prefixOrDefault(prefix string) string {
	if prefix == "" {
		return "x-auth-"
	}
	return prefix
}

// removedNames are the expressions for a printed configuration.
func removedNames(prefix string, kept []string) ([]string, error) {
	if PrefixTooLong(prefix) {
		return nil, fmt.Errorf("header prefix %q is longer than Envoy's regular expressions may be: write a shorter one", prefix)
	}
	if !validName(prefix) {
		return nil, fmt.Errorf("header prefix %q: write a lower-case header name", prefix)
	}
	return removedExpressions(prefix, kept)
}

// RFC 1123 labels, keys and values of labels as Kubernetes has them, and DNS names.
var (
	nameForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	keyForm   = regexp.MustCompile(`^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	valueForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)
	hostForm  = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)
	plainForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*$`)
)

// yamlWord writes a word as YAML has it, quoted where YAML would read something
// else: a number, a truth value, a sign of its own.
func yamlWord(word string) string {
	switch strings.ToLower(word) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
	default:
		if plainForm.MatchString(word) {
			return word
		}
	}
	return strconv.Quote(word)
}

func objectName(what, name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%s %q: write a name as Kubernetes has them", what, name)
	}
	return nil
}

func label(key, value string) error {
	if !keyForm.MatchString(key) || !valueForm.MatchString(value) {
		return fmt.Errorf("label %s=%s: write KEY=VALUE as the workload's pods carry it", key, value)
	}
	return nil
}
