// Package openapi makes rules from API descriptions (OpenAPI 3.0 to 3.2): what an
// operation's security requirements list is what a key needs for it.
//
// An omission in a description never opens anything. Without security, or with
// requirements that no API key can meet, an operation is denied; a path template that
// can't be matched exactly refuses the document.
//
// It belongs to package authz, and not to the commands that read files, since it decides
// policy: what a description requires of a key. It fills [authz.RouteConfig] and nothing
// else, reads no files, and knows no gateway. It is a package of its own since package
// authz imports the standard library alone, and YAML needs a parser.
package openapi
