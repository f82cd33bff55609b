package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	koanfyaml "github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// EnvPrefix begins the name of every environment variable of the service.
const EnvPrefix = "EXTAUTHZ_"

// Options says where a configuration is read from.
type Options struct {
	Path     string           // YAML file; "" is DefaultFile in the working folder
	Explicit bool             // the user named Path, so the file must exist
	Environ  []string         // "NAME=value", as os.Environ returns them
	Flags    map[string]any   // by dotted name; only the flags that were given
	Now      func() time.Time // for shadow modes that may have ended; nil: time.Now
	// Needs names the sections and settings that the caller uses; nil: all. Faults of
	// other settings are not reported. It is for commands that have to work even if the
	// rest of the configuration is faulty.
	Needs []string
}

// Load reads, merges and validates a configuration. Its error joins one error for each
// fault: one line that names the place, the setting and what to write. Load also reads
// the files that settings name, such as secrets and certificates, and changes nothing.
func Load(o Options) (*Config, error) {
	if o.Path == "" {
		o.Path = DefaultFile
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var problems faults
	where := origins{}
	k := koanf.New(".")

	layer := fileLayer{YAML: koanfyaml.Parser(), reader: reader{source: o.Path, lines: true, origins: where, faults: &problems}}
	if err := k.Load(file.Provider(o.Path), layer); err != nil && (o.Explicit || !errors.Is(err, fs.ErrNotExist)) {
		problems.add(o.Path, "", "can't be read: %v", reason(err))
	}
	if err := k.Load(env.Provider(".", env.Opt{
		Prefix:        EnvPrefix,
		EnvironFunc:   func() []string { return o.Environ },
		TransformFunc: func(name, value string) (string, any) { return readVariable(name, value, where, &problems) },
	}), nil); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	for _, setting := range slices.Sorted(maps.Keys(o.Flags)) {
		if v, ok := readFlag(setting, o.Flags[setting], where, &problems); ok {
			if err := k.Set(setting, v); err != nil {
				return nil, fmt.Errorf("command line: %w", err)
			}
		}
	}

	c := Defaults()
	// ZeroFields: a list replaces the default list instead of being merged with it.
	if err := k.UnmarshalWithConf("", c, koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
		TagName: "koanf", ZeroFields: true, ErrorUnused: true, DecodeHook: mapstructure.TextUnmarshallerHookFunc(),
	}}); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	c.origins, c.path = where, o.Path
	c.resolveSecrets(&problems)
	c.defaultDatabase()
	c.defaultRoute()
	c.validate(o.Now(), &problems)
	if needed := problems.of(o.Needs); len(needed) > 0 {
		return nil, errors.Join(needed...)
	}
	return c, nil
}

// fileLayer is koanf's YAML parser, with a reader in place of its Unmarshal.
type fileLayer struct {
	*koanfyaml.YAML
	reader
}

// Unmarshal returns no error: it adds problems to the reader's faults.
func (l fileLayer) Unmarshal(text []byte) (map[string]any, error) {
	v, _ := l.document(text, reflect.TypeFor[Config](), "")
	m, _ := v.(map[string]any)
	return m, nil
}

// notSettings lists the variables that the command line reads itself.
var notSettings = []string{"EXTAUTHZ_SERVER", "EXTAUTHZ_TOKEN", "EXTAUTHZ_TOKEN_FILE", "EXTAUTHZ_KEY", "EXTAUTHZ_CONFIG"}

// serviceLink matches the variables that Kubernetes sets in every pod for a Service whose
// name begins with "extauthz". Without this exception, the chart's own Service would stop
// the program with unknown settings.
var serviceLink = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

// readVariable returns the dotted name and the value of one variable for koanf; the name
// "" leaves the variable out.
func readVariable(name, value string, where origins, problems *faults) (string, any) {
	if slices.Contains(notSettings, name) || serviceLink.MatchString(name) {
		return "", nil
	}
	setting := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "__", ".")
	t, known := settingType(setting)
	switch {
	case !known:
		section, prefix, last := enclosing(setting)
		problems.add(name, setting, "unknown setting %s: %s", setting, suggest(section, prefix, last))
		return "", nil
	case isSection(t):
		example := settingNames(t, setting)[0]
		problems.add(name, setting, "%s is a section: set what is in it, such as %s", setting, Variable(example))
		return "", nil
	}
	r := reader{source: name, origins: where, faults: problems}
	var v any
	var ok bool
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && !strings.HasPrefix(value, "["):
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for element := range strings.SplitSeq(value, ",") {
			if element = strings.TrimSpace(element); element != "" {
				list.Content = append(list.Content, textNode(element))
			}
		}
		v, ok = r.value(list, t, setting)
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		v, ok = r.document([]byte(value), t, setting)
	case value == "" && t.Kind() != reflect.String && t != dsnType && t != secretType:
		return "", nil // compose files pass unset variables on as empty ones
	default:
		v, ok = r.value(textNode(value), t, setting)
	}
	if !ok {
		return "", nil
	}
	return setting, v
}

func textNode(text string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
}

// enclosing returns the innermost existing section that an unknown name belongs to.
func enclosing(setting string) (section reflect.Type, prefix, rest string) {
	section, rest = reflect.TypeFor[Config](), setting
	for {
		first, after, more := strings.Cut(rest, ".")
		f, ok := fieldNamed(section, first)
		if !more || !ok || !isSection(f.typ) {
			return section, prefix, rest
		}
		section, prefix, rest = f.typ, join(prefix, first), after
	}
}

// Variable returns the name of the environment variable for a setting.
func Variable(setting string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(setting, ".", "__"))
}

func readFlag(setting string, value any, where origins, problems *faults) (any, bool) {
	const source = "command line"
	t, known := settingType(setting)
	if !known {
		section, prefix, last := enclosing(setting)
		problems.add(source, setting, "unknown setting %s: %s", setting, suggest(section, prefix, last))
		return nil, false
	}
	var n yaml.Node
	if err := n.Encode(value); err != nil {
		problems.add(source, setting, "%s: %v", setting, err)
		return nil, false
	}
	r := reader{source: source, origins: where, faults: problems}
	return r.value(&n, t, setting)
}

// reason returns an error of the file system without the path, because the message names
// the path already.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
