package config

import (
	"reflect"
	"slices"
)

// reloadable lists the settings and sections whose changes a running service can apply.
var reloadable = []string{
	"credentials", "identity", "headers", "routes", "default_route", "default_map", "context_extensions", "route_metadata", "openapi",
	"shadow", "cors", "paths", "client_address", "denials", "on_error", "debug_headers", "limits", "keys.pepper_files", "keys.require_pepper", "cache.sealing_key_file", "log.level", "log.sample_allowed", "grpc.tls", "http.tls", "admin.tls", "ops.tls",
}

// Diff returns the settings that differ, sorted: those that a running service can apply,
// and those that need a restart. A list or a map counts as one setting. TLS that is on
// can be changed by a reload; switching it on or off needs a restart.
func Diff(old, new *Config) (reload, restart []string) {
	before, after := old.Listeners(), new.Listeners()
	for _, setting := range changedSettings(reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem(), "") {
		if readByConnections(old, new, setting) {
			continue
		}
		switched := false
		for i := range before {
			switched = switched || within(setting, before[i].Section+".tls") && before[i].TLS.Enabled() != after[i].TLS.Enabled()
		}
		if !switched && slices.ContainsFunc(reloadable, func(r string) bool { return within(setting, r) }) {
			reload = append(reload, setting)
		} else {
			restart = append(restart, setting)
		}
	}
	slices.Sort(reload)
	slices.Sort(restart)
	return reload, restart
}

// readByConnections reports whether each new connection reads the setting's value from a
// file, so that a change needs neither a reload nor a restart.
func readByConnections(old, new *Config, setting string) bool {
	files := map[string][2]string{
		"database.dsn":                  {old.Database.DSNFile, new.Database.DSNFile},
		"database.listen_dsn":           {old.Database.ListenDSNFile, new.Database.ListenDSNFile},
		"cache.redis.password":          {old.Cache.Redis.PasswordFile, new.Cache.Redis.PasswordFile},
		"cache.redis.sentinel_password": {old.Cache.Redis.SentinelPasswordFile, new.Cache.Redis.SentinelPasswordFile},
	}[setting]
	return files[0] != "" && files[0] == files[1]
}

// changedSettings returns the settings below prefix in which two structs differ.
func changedSettings(old, new reflect.Value, prefix string) []string {
	var changed []string
	for _, f := range fieldsOf(old.Type()) {
		a, b, setting := old.Field(f.index), new.Field(f.index), join(prefix, f.name)
		switch {
		case isSection(f.typ):
			changed = append(changed, changedSettings(a, b, setting)...)
		case !same(a, b):
			changed = append(changed, setting)
		}
	}
	return changed
}

// same compares two values. Secrets are compared by their text, because reflect.DeepEqual
// sees only their length and first byte. A nil list equals an empty one.
func same(a, b reflect.Value) bool {
	if s, ok := a.Interface().(interface{ Reveal() string }); ok {
		return s.Reveal() == b.Interface().(interface{ Reveal() string }).Reveal()
	}
	if k := a.Kind(); (k == reflect.Slice || k == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
