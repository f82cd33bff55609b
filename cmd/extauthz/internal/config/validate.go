package config

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/inbound"
	"extauthz/models"
)

// validator checks a merged configuration. It does not check settings again that were
// faulty in their layer.
type validator struct {
	*Config
	now    time.Time
	faults *faults
}

func (c *Config) validate(now time.Time, problems *faults) {
	v := &validator{Config: c, now: now, faults: problems}
	v.constraints()
	v.listeners()
	v.database()
	v.passwordSources()
	v.cache()
	v.keys()
	v.retention()
	v.credentials()
	v.identity()
	v.keptOverrides()
	v.described = v.openAPI()
	v.routes()
	v.denials()
	if c.Paths.Encoded == encodedAllow && c.DefaultRoute == string(authz.DefaultRouteMap) {
		v.add("paths.encoded", "allow makes encoded characters in paths data, and default_route map takes the resource from the path: write default_route: authenticated, or encoded: allow on a rule instead")
	}
	if h := c.ClientAddress.Header; !lowerToken(h) {
		v.add("client_address.header", "%q is not a header name: write it in lower case, such as x-forwarded-for", h)
	}
	if c.RouteMetadata.AllowAnonymous && len(c.RouteMetadata.Namespaces) == 0 {
		v.add("route_metadata.allow_anonymous", "needs route_metadata.namespaces: name those that may open routes")
	}
	v.gatewayRoutes()
}

// add reports a problem, unless one with the same setting is known.
func (v *validator) add(setting, format string, args ...any) {
	if !v.faults.about(setting) {
		v.report(setting, format, args...)
	}
}

// report is add for a setting that may have several problems.
func (v *validator) report(setting, format string, args ...any) {
	v.faults.add(v.origins.of(setting), setting, "%s: %s", setting, fmt.Sprintf(format, args...))
}

// each reports every error that is joined in err.
func (v *validator) each(setting string, err error) {
	if err == nil || v.faults.about(setting) {
		return
	}
	for _, e := range flatten(err) {
		v.report(setting, "%v", e)
	}
}

func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

func (v *validator) listeners() {
	seen := map[string]string{}
	for _, l := range v.Listeners() {
		setting := l.Section + ".listen"
		if other, taken := seen[l.Address]; taken && !strings.HasSuffix(l.Address, ":0") {
			v.add(setting, "%s is the address of %s too: choose another port", l.Address, other)
		}
		seen[l.Address] = setting
		v.tls(l.Section+".tls", l.TLS)
	}
	// Twice the size: for the bytes received, and for the message that is made from them.
	if most := v.GRPC.MaxPendingMiB << 20; 2*v.GRPC.MaxMessageBytes > most {
		v.add("grpc.max_message_bytes", "%d is more than half of grpc.max_pending_mib (%d MiB), so that one message could close other connections: raise grpc.max_pending_mib, or lower this", v.GRPC.MaxMessageBytes, v.GRPC.MaxPendingMiB)
	}
	if most := v.HTTP.MaxPendingMiB << 20; inbound.HeadCost*v.HTTP.MaxHeaderBytes > most/2 {
		v.add("http.max_header_bytes", "%d takes up to %d times as much memory, which is more than half of http.max_pending_mib (%d MiB): raise http.max_pending_mib, or lower this", v.HTTP.MaxHeaderBytes, inbound.HeadCost, v.HTTP.MaxPendingMiB)
	}
	r := v.Cache.Redis.TLS
	v.tls("cache.redis.tls", TLS{CertFile: r.CertFile, KeyFile: r.KeyFile})
	v.authorities("cache.redis.tls.ca_file", r.CAFile)
	if !r.Enabled && r != (RedisTLS{}) {
		v.add("cache.redis.tls.enabled", "is false, but other settings of cache.redis.tls are set: set it to true or remove them")
	}
}

// tls loads the files that a listener needs, so that a bad file is found here.
func (v *validator) tls(section string, t TLS) {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		v.add(section+".key_file", "is missing: %s.cert_file needs its private key", section)
	case t.CertFile == "" && t.KeyFile != "":
		v.add(section+".cert_file", "is missing: %s.key_file needs its certificate", section)
	case t.CertFile != "":
		if _, err := os.ReadFile(t.CertFile); err != nil {
			v.add(section+".cert_file", "%s can't be read: %v", t.CertFile, reason(err))
		} else if _, ok := v.secretFile(section+".key_file", t.KeyFile, v.faults); ok {
			if _, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile); err != nil {
				v.add(section, "certificate and key don't load: %v", err)
			}
		}
	case t.ClientCAFile != "":
		v.add(section+".client_ca_file", "needs %s.cert_file and key_file: without TLS no client certificate is asked for", section)
		return
	}
	v.authorities(section+".client_ca_file", t.ClientCAFile)
	if len(t.AllowedSANs) > 0 && t.ClientCAFile == "" {
		v.add(section+".allowed_sans", "needs %s.client_ca_file: without it no client certificate is asked for", section)
	}
}

func (v *validator) authorities(setting, path string) {
	if path == "" {
		return
	}
	if _, err := certificates.Pool(path); err != nil {
		v.add(setting, "%v", err)
	}
}

func (v *validator) database() {
	dsn := v.Database.DSN.Reveal()
	postgres := strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
	switch {
	case v.Database.Driver == "postgres" && dsn == "" && v.Database.DSNFile == "":
		v.add("database.dsn", "is missing: driver postgres needs one, such as postgres://user@host/extauthz, or dsn_file")
	case v.Database.Driver == DefaultDriver && postgres:
		v.add("database.driver", "is sqlite, but database.dsn is a Postgres URL: write driver: postgres")
	}
	if v.Database.Driver == DefaultDriver && !v.Database.ListenDSN.IsZero() {
		v.add("database.listen_dsn", "is for postgres only: remove it, or write driver: postgres")
	}
	if v.DataDir == "" {
		v.add("data_dir", "is empty: name a folder, such as %s", DefaultDataDir)
	}
	v.dataSources()
}

// dataSources validates the data sources with the code of package models.
func (v *validator) dataSources() {
	if v.faults.about("database.driver") {
		return
	}
	setting := "database.dsn"
	switch {
	case v.Database.DSNFile != "":
		setting = "database.dsn_file"
	case v.Database.Driver == DefaultDriver && v.Database.DSN.Reveal() == v.defaultDatabaseFile():
		setting = "data_dir"
	}
	if err := (models.Config{Driver: v.Database.Driver, DSN: v.Database.DSN.Reveal()}).Check(); err != nil && !v.faults.about("database.dsn") {
		v.add(setting, "%v", err)
	}
	setting = "database.listen_dsn"
	if v.Database.ListenDSNFile != "" {
		setting = "database.listen_dsn_file"
	}
	if v.Database.Driver == models.Postgres && !v.Database.ListenDSN.IsZero() && (models.Config{Driver: models.Postgres, DSN: v.Database.ListenDSN.Reveal()}).Check() != nil {
		v.add(setting, "can't be read: write postgres://user:password@host:5432/name")
	}
}

func (v *validator) cache() {
	c := v.Cache
	if strings.Trim(c.Namespace, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_-") != "" || c.Namespace == "" || strings.HasSuffix(c.Namespace, ":") {
		v.add("cache.namespace", "%q: write letters, digits, \":\", \"_\" and \"-\", such as %s", c.Namespace, DefaultNamespace)
	}
	r := c.Redis
	switch {
	case r.Mode == "sentinel" && len(r.Addresses) > 0 && r.SentinelMaster == "":
		v.add("cache.redis.sentinel_master", "is missing: mode sentinel needs the master's name")
	case r.Mode == "single" && len(r.Addresses) > 1:
		v.add("cache.redis.addresses", "has %d entries, mode single takes one: write mode: cluster or sentinel, or remove some", len(r.Addresses))
	case r.Mode == "cluster" && r.DB != 0:
		v.add("cache.redis.db", "%d: a cluster has database 0 only", r.DB)
	case r.Mode != "single" && len(r.Addresses) == 0:
		v.add("cache.redis.addresses", "is empty: mode %s needs at least one", r.Mode)
	}
	if c.Feed.Poll >= c.Local.Lease {
		v.add("cache.feed.poll", "%v is not shorter than cache.local.lease, %v, which would always expire: lower it, or raise cache.local.lease", c.Feed.Poll, c.Local.Lease)
	}
	if c.Local.Lease > c.Local.MaxStale {
		v.add("cache.local.lease", "%v is longer than cache.local.max_stale, %v: lower it, or raise cache.local.max_stale", c.Local.Lease, c.Local.MaxStale)
	}
	if least := v.CacheService().MinRetention(); c.Feed.Retention < least {
		v.add("cache.feed.retention", "%v is shorter than cached values can live, %v: raise it, or lower cache.ttl and cache.local.max_stale", c.Feed.Retention, least)
	}
	if c.SealingKeyFile != "" {
		if _, ok := v.secretFile("cache.sealing_key_file", c.SealingKeyFile, v.faults); ok {
			_, err := v.SealingKeys()
			v.each("cache.sealing_key_file", err)
		}
	}
}

func (v *validator) keys() {
	if v.Keys.Brand == "" || len(v.Keys.Environments) == 0 {
		v.add("keys", "brand and environments must not be empty: leave them out for %s, live and test", DefaultBrand)
	}
	_, err := v.KeyFormat()
	v.each("keys", err)
	for i, path := range v.Keys.PepperFiles {
		v.secretFile(fmt.Sprintf("keys.pepper_files[%d]", i), path, v.faults)
	}
	if !v.faults.about("keys.pepper_files") {
		_, err := v.Peppers()
		v.each("keys.pepper_files", err)
	}
	if v.Keys.RequirePepper && len(v.Keys.PepperFiles) == 0 {
		v.add("keys.require_pepper", "is true, and keys.pepper_files names none, so that no key would be valid: name a file with a pepper, or remove it")
	}
	v.bootstrapKey()
}

// bootstrapKey warns about a file that can't make an administrator. It is no error,
// because the file only matters while there is no administrator, and checks need none.
func (v *validator) bootstrapKey() {
	const setting = "admin.bootstrap_key_file"
	if v.Admin.BootstrapKeyFile == "" || v.faults.about("keys") {
		return
	}
	_, public, err := readSecret(v.Admin.BootstrapKeyFile)
	if err == nil {
		_, err = v.BootstrapKey()
	}
	if public {
		v.publicSecret(setting, v.Admin.BootstrapKeyFile)
	}
	if err != nil {
		v.warnings = append(v.warnings, fmt.Sprintf("%s: %s: %v; the service starts without it, and where no administrator exists, it makes none", v.origins.of(setting), setting, err))
	}
}

func second[T any](_ T, err error) error { return err }
