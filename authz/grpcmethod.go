package authz

import "strings"

// grpcMethod names what a gRPC call asks for: of POST /pkg.v1.Service/Method the
// service is the resource, and the action follows the standard methods of API
// design (Get, List, Search, Watch: read; Create, Update, Delete), else it is
// the method's own name in lower case, as in cancel_order. It goes by the path
// alone, never by content-type, which the client chooses and the upstream may
// not look at. ok is false for what is no such path: a package, and service and
// method in capitals, are its marks.
func grpcMethod(method, rest string) (resource, action string, ok bool) {
	service, name, two := strings.Cut(rest, "/")
	dot := strings.LastIndexByte(service, '.')
	if method != "POST" || !two || strings.Contains(name, "/") || dot <= 0 || !capital(service[dot+1:]) || !capital(name) {
		return "", "", false
	}
	for _, verb := range standardMethods {
		if after, found := strings.CutPrefix(name, verb.prefix); found && (after == "" || capital(after)) {
			return service, verb.action, true
		}
	}
	action = snakeCase(name)
	return service, action, validAction(action)
}

var standardMethods = []struct{ prefix, action string }{
	{"BatchGet", "read"}, {"Get", "read"}, {"List", "read"}, {"Search", "read"}, {"Watch", "read"},
	{"BatchCreate", "create"}, {"Create", "create"}, {"BatchUpdate", "update"}, {"Update", "update"},
	{"BatchDelete", "delete"}, {"Delete", "delete"},
}

func capital(s string) bool { return s != "" && 'A' <= s[0] && s[0] <= 'Z' }

func snakeCase(s string) string {
	var b strings.Builder
	b.Grow(len(s) + len(s)/2) // mostly enough for the "_"
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			if i > 0 && (s[i-1] < 'A' || s[i-1] > 'Z') {
				b.WriteByte('_')
			}
			c += 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}
