package authz

import "strings"

// isGRPCPath recognises the path of a gRPC call, without its leading slash, as in POST
// /pkg.v1.Service/Method: it is recognised by a package name and by capitalised names of
// service and method. It goes by the path alone, never by content-type, which the client
// chooses and the upstream may ignore.
func isGRPCPath(method, rest string) bool {
	service, name, two := strings.Cut(rest, "/")
	dot := strings.LastIndexByte(service, '.')
	return two && method == "POST" && dot > 0 && capital(service[dot+1:]) && capital(name) && isWord(name)
}

// grpcMethod derives what a gRPC call needs: the service is the resource, and the
// action follows the standard methods of API design (Get, List, Search, Watch:
// read; Create, Update, Delete), else it is the method's own name in lower case, as
// in cancel_order. rest is a path that [isGRPCPath] recognised.
func grpcMethod(rest string) (resource, action string) {
	service, name, _ := strings.Cut(rest, "/")
	for _, verb := range standardMethods {
		if after, found := strings.CutPrefix(name, verb.prefix); found && (after == "" || capital(after)) {
			return service, verb.action
		}
	}
	return service, snakeCase(name)
}

var standardMethods = []struct{ prefix, action string }{
	{"BatchGet", "read"}, {"Get", "read"}, {"List", "read"}, {"Search", "read"}, {"Watch", "read"},
	{"BatchCreate", "create"}, {"Create", "create"}, {"BatchUpdate", "update"}, {"Update", "update"},
	{"BatchDelete", "delete"}, {"Delete", "delete"},
}

func capital(s string) bool { return s != "" && 'A' <= s[0] && s[0] <= 'Z' }

// isWord reports whether s is made of what identifiers of Protocol Buffers have.
func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

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
