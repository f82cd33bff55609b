package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"extauthz/authz"
)

// constraints checks the tags enum, min, max and format of all settings.
func (v *validator) constraints() {
	v.section(reflect.ValueOf(v.Config).Elem(), "", false)
}

// section checks one struct. In an optional one (an element of a list or map), an empty
// text and a zero number count as unset.
func (v *validator) section(s reflect.Value, prefix string, optional bool) {
	for _, f := range fieldsOf(s.Type()) {
		value, setting := s.Field(f.index), join(prefix, f.name)
		switch {
		case isSection(f.typ):
			v.section(value, setting, optional)
		case f.typ.Kind() == reflect.Slice && isSection(f.typ.Elem()):
			for i := range value.Len() {
				v.section(value.Index(i), fmt.Sprintf("%s[%d]", setting, i), true)
			}
		case f.typ.Kind() == reflect.Map && isSection(f.typ.Elem()):
			for _, key := range value.MapKeys() {
				v.section(value.MapIndex(key), join(setting, key.String()), true)
			}
		case f.typ.Kind() == reflect.Slice:
			for i := range value.Len() {
				v.constraint(value.Index(i), f.tag, fmt.Sprintf("%s[%d]", setting, i))
			}
		case !optional || !value.IsZero():
			v.constraint(value, f.tag, setting)
		}
	}
}

func (v *validator) constraint(value reflect.Value, tag reflect.StructTag, setting string) {
	if enum := tag.Get("enum"); enum != "" && !slices.Contains(strings.Split(enum, ","), value.String()) {
		v.add(setting, "%q is none of %s", value.String(), strings.ReplaceAll(enum, ",", ", "))
	}
	if err := form(tag.Get("format"), value.String()); err != nil {
		v.add(setting, "%v", err)
	}
	if low := tag.Get("min"); low != "" && number(value) < bound(low) {
		v.add(setting, "%v is too small: the minimum is %s", value.Interface(), low)
	}
	if high := tag.Get("max"); high != "" && number(value) > bound(high) {
		v.add(setting, "%v is too large: the maximum is %s", value.Interface(), high)
	}
}

// number converts durations (to nanoseconds) and numbers to one comparable type.
func number(v reflect.Value) float64 {
	if v.CanInt() {
		return float64(v.Int())
	}
	return v.Float()
}

// bound parses a min or max tag. It ignores errors, since all tags are in this package.
func bound(text string) float64 {
	if d, err := time.ParseDuration(text); err == nil {
		return float64(d)
	}
	f, _ := strconv.ParseFloat(text, 64)
	return f
}

// form returns what is wrong with a text that must have the named form; nil if nothing
// is.
func form(format, text string) (err error) {
	switch format {
	case "listen":
		_, _, err = ListenAddress(text)
	case "endpoint":
		err = endpoint(text)
	case "cidr":
		_, err = authz.ParseCIDRs([]string{text})
	case "url":
		err = absoluteURL(text)
	case "otlp":
		err = otlpEndpoint(text)
	}
	return err
}

func endpoint(text string) error {
	if err := hostPort(text, 1); err != nil {
		return err
	}
	if strings.HasPrefix(text, ":") {
		return fmt.Errorf("%q has no host: write host:port", text)
	}
	return nil
}

// hostPort checks a text for host:port with a port from lowest to 65535. An empty host
// stands for every address of this machine.
func hostPort(text string, lowest int) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q: write host:port, such as 127.0.0.1:9001", text)
	}
	if p, err := strconv.Atoi(port); err != nil || p < lowest || p > 65535 {
		return fmt.Errorf("%q: the port is a number from %d to 65535", text, lowest)
	}
	if host != "" && !isHost(host) {
		return fmt.Errorf("%q: %q is not a host: write a name or an address", text, host)
	}
	return nil
}

// isHost reports whether host is an address, or a name that could be looked up. "*" and
// "256.1.1.1" are neither.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	for _, label := range labels {
		other := strings.ContainsFunc(label, func(r rune) bool {
			return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		})
		if other || label == "" || len(label) > 63 {
			return false
		}
	}
	return len(host) <= 253 && strings.Trim(labels[len(labels)-1], "0123456789") != ""
}

// otlpEndpoint accepts only scheme, host and port. gRPC has no use for a path, and
// everyone who can read the configuration would see a password.
func otlpEndpoint(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || endpoint(u.Host) != nil || strings.TrimSuffix(text, "/") != u.Scheme+"://"+u.Host {
		return errors.New("is not an endpoint of OTLP over gRPC: write http://HOST:4317, or https://HOST:4317 for TLS, and nothing after it")
	}
	return nil
}

func absoluteURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" || !plainText(text) {
		return errors.New(strconv.Quote(text) + " is not a URL: write one with its scheme, such as https://example.com/problems/")
	}
	return nil
}
