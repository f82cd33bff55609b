// Package openapi makes rules from API descriptions (OpenAPI 3.0 to 3.2): for an
// operation, a key needs what the operation's security requirements list.
//
// An omission in a description never opens anything. An operation without security, or
// with requirements that no API key can meet, is denied. A document with a path template
// that can't be matched exactly is refused.
//
// It belongs to package authz, and not to the commands that read files, since it decides
// policy: what a description requires of a key. It fills [authz.RouteConfig] and nothing
// else, reads no files, and knows no gateway. It is a package of its own since package
// authz imports the standard library alone, and YAML needs a parser.
package openapi
