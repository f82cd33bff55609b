package config

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Print writes the effective configuration as YAML that Load can read, except for
// secrets. They are written as "***"; in a data source only the password is replaced.
func (c *Config) Print(w io.Writer) error {
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	n, err := sectionNode(reflect.ValueOf(c).Elem(), false)
	if err != nil {
		return err
	}
	if err := e.Encode(n); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return e.Close()
}

// sectionNode keeps the order of the struct's fields. In elements of lists and maps it
// leaves out unset fields.
func sectionNode(v reflect.Value, element bool) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fieldsOf(v.Type()) {
		value := v.Field(f.index)
		if element && value.IsZero() {
			continue
		}
		child, err := node(value)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, textNode(f.name), child)
	}
	return n, nil
}

func node(v reflect.Value) (*yaml.Node, error) {
	t := v.Type()
	switch value := v.Interface().(type) {
	case Secret:
		if value.IsZero() {
			return textNode(""), nil
		}
		return textNode(masked), nil
	case DSN:
		return textNode(value.Masked()), nil
	case time.Duration:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: shortDuration(value)}, nil
	case Date:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: value.String()}, nil
	}
	switch {
	case isSection(t):
		return sectionNode(v, false)
	case t.Kind() == reflect.Slice && isSection(t.Elem()):
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			child, err := sectionNode(v.Index(i), true)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		return n, nil
	case t.Kind() == reflect.Map && isSection(t.Elem()):
		n := &yaml.Node{Kind: yaml.MappingNode}
		sections, _ := v.Interface().(map[string]Override)
		for _, key := range slices.Sorted(maps.Keys(sections)) {
			child, err := sectionNode(reflect.ValueOf(sections[key]), true)
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, textNode(key), child)
		}
		return n, nil
	}
	n := &yaml.Node{}
	if err := n.Encode(v.Interface()); err != nil {
		return nil, fmt.Errorf("print the configuration: %w", err)
	}
	if n.Kind == yaml.SequenceNode {
		n.Style = yaml.FlowStyle
	}
	return n, nil
}
