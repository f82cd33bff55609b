package authz

import "strings"

// isGRPCPath recognises a gRPC call such as POST /pkg.v1.Service/Method by its package
// name and by the capitalised names of service and method. rest is the path without its
// leading slash. Only method and path count, never content-type, which the client chooses
// and the upstream may ignore.
func isGRPCPath(method, rest string) bool {
	service, name, two := strings.Cut(rest, "/")
	dot := strings.LastIndexByte(service, '.')
	return two && method == "POST" && dot > 0 && capital(service[dot+1:]) && capital(name) && isWord(name)
}

// grpcMethod derives what a gRPC call needs. The service is the resource. The action
// follows the standard methods of API design (Get, List, Search, Watch: read; Create,
// Update, Delete); for any other method it is the method's name in snake case, such as
// cancel_order. rest is a path that [isGRPCPath] recognised.
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

// isWord reports whether s has only characters that identifiers of Protocol Buffers may
// have.
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
