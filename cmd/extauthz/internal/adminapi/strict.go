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

// The library reads parameters kindly: it ignores unknown ones, takes the first of
// several, an empty one for none, and "T" for true. Then a mistyped name changes what a
// call does silently, and contrary to the document. So
// parameters are held to the document before the library reads them.

// strictParameters refuses what the operation's description does not have.
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

// undescribed reports all parameters that are not as they are described.
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

// mistyped returns what a parameter's value has to be, if it is not. Texts are judged by
// the library, by their schema.
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

// strictJSON reads bodies that every reader takes alike: UTF-8, and no name twice in an
// object, since one reader takes the first of them and another the last.
var strictJSON = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(data []byte, v any) error {
		if generic, first := v.(*any); first { // the first of two times that a body is read
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

// null stands for a null in a body when the library compares it with the document. The
// library itself takes one for a field that is absent, so that {"expires_at": null}
// would be understood as "no expiry" by the caller and as nothing by us.
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

// noNameTwice reads one value of a well-formed document.
func noNameTwice(d *json.Decoder) error {
	var open []map[string]bool // the names of the objects around, nil for arrays
	name := false              // whether a name comes next
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
