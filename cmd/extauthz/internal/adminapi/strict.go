package adminapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// huma is lenient with parameters: it ignores unknown ones, uses the first of several,
// takes an empty one as absent, and takes "T" as true. A mistyped name would then
// silently change what a call does, contrary to the document. So parameters are compared
// with the document before huma reads them.

// strictParameters refuses parameters that the operation's description does not have.
func strictParameters(h huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, _ := humago.Unwrap(ctx)
		if errs := undescribed(r, ctx.Operation().Parameters); len(errs) > 0 {
			_ = huma.WriteErr(h, ctx, http.StatusUnprocessableEntity, invalidText, errs...)
			return
		}
		next(ctx)
	}
}

// undescribed reports all parameters that are not as described.
func undescribed(r *http.Request, described []*huma.Param) (errs []error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return []error{&huma.ErrorDetail{Location: "query", Message: "is not of the form name=value&name=value"}}
	}
	known := map[string]*huma.Param{}
	for _, p := range described {
		switch p.In {
		case "query":
			known[p.Name] = p
		case "header":
			if len(r.Header.Values(p.Name)) > 1 {
				errs = append(errs, &huma.ErrorDetail{Location: "header." + p.Name, Message: "is sent more than once"})
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		message := ""
		switch p := known[name]; {
		case p == nil:
			message = "unknown query parameter"
		case len(query[name]) > 1:
			message = "is given more than once"
		default:
			message = mistyped(p.Schema, query.Get(name))
		}
		if message != "" {
			errs = append(errs, &huma.ErrorDetail{Location: "query." + name, Message: message})
		}
	}
	return errs
}

var integer = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})$`)

// mistyped returns what a parameter's value has to be, or "" if it is right. huma checks
// texts, by their schema.
func mistyped(s *huma.Schema, value string) string {
	switch {
	case s.Type == huma.TypeBoolean && value != "true" && value != "false":
		return "must be true or false"
	case s.Type == huma.TypeInteger && !integer.MatchString(value):
		return "must be an integer"
	case s.Format == "date-time" && value == "":
		return "must be a time such as 2027-01-31T00:00:00Z"
	}
	return ""
}

// strictJSON reads only bodies that every reader understands alike: they are UTF-8, and
// no object has a name twice, since some readers use the first of the two and others the
// last.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if generic, first := v.(*any); first { // huma reads a body twice; this is the first time
			if !utf8.Valid(data) {
				return errors.New("the body is not UTF-8")
			}
			if err := json.Unmarshal(data, v); err != nil {
				return err
			}
			*generic = markNulls(*generic)
			return noNameTwice(json.NewDecoder(bytes.NewReader(data)))
		}
		return json.Unmarshal(data, v)
	},
}

// null replaces each null in a body when huma compares the body with the document. huma
// itself treats null as an absent field. The caller of {"expires_at": null} may mean "no
// expiry", but we would change nothing.
type null struct{}

func markNulls(v any) any {
	switch v := v.(type) {
	case nil:
		return null{}
	case map[string]any:
		for name, value := range v {
			v[name] = markNulls(value)
		}
	case []any:
		for i, value := range v {
			v[i] = markNulls(value)
		}
	}
	return v
}

// noNameTwice refuses a document in which an object has a name twice. The document must
// be well-formed.
func noNameTwice(d *json.Decoder) error {
	var open []map[string]bool // names in each enclosing object; nil for an array
	name := false              // whether the next text is a name
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		text, isText := t.(string)
		switch {
		case name && isText:
			names := open[len(open)-1]
			if names[text] {
				return errors.New("the body has a name twice in one object")
			}
			names[text], name = true, false
			continue
		case t == json.Delim('{'):
			open = append(open, map[string]bool{})
		case t == json.Delim('['):
			open = append(open, nil)
		case t == json.Delim('}'), t == json.Delim(']'):
			open = open[:len(open)-1]
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}
