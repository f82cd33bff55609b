// Package config is the service's configuration: one struct tree, [Config],
// with its defaults, its loading, its validation and its JSON schema.
//
// [Load] lays four layers over one another, a later one winning setting by
// setting (lists are replaced whole): defaults, the YAML file, environment
// variables, command-line flags. Every layer is checked before it is merged,
// so that one error names every fault of all of them, each on one line, with
// the place it came from and what to write instead. Secrets in files of
// their own are read here. A configuration that Load returned is
// valid, and is not changed any more.
//
// The package returns domain values where that needs nothing but the
// settings ([Config.RouteTable], [Config.KeyFormat], ...). It opens no
// listener, no database and no log, and watches no file: to reload, a caller
// calls [Load] again, and [Diff] for what changed.
package config
