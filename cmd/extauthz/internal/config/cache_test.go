package config

import (
	"math"
	"slices"
	"testing"
	"time"

	"extauthz/cachesvc"
)

// TestValidate_AgreesWithTheCache: serve starts with every configuration that config
// check accepts, and config check reports every one that serve would refuse. The test
// tries the edges of every bound.
func TestValidate_AgreesWithTheCache(t *testing.T) {
	values := func(around ...time.Duration) (all []time.Duration) {
		for _, d := range around {
			all = append(all, d-time.Millisecond, d, d+time.Millisecond)
		}
		return all
	}
	agree := func(edit func(*Config)) {
		t.Helper()
		c := Defaults()
		c.defaultDatabase()
		edit(c)
		var problems faults
		c.validate(time.Now(), &problems)
		service := c.CacheService()
		service.Database = struct{ cachesvc.Database }{}
		if _, err := cachesvc.New(service); (err == nil) != !problems.about("cache") {
			t.Errorf("%+v %+v %+v: config check reports %v, serve %v", c.Cache.TTL, c.Cache.Local, c.Cache.Feed, problems, err)
		}
	}
	agree(func(*Config) {})
	for _, lease := range values(100*time.Millisecond, cachesvc.DefaultPoll, 300*time.Millisecond, cachesvc.DefaultFlightBudget, cachesvc.DefaultLease, cachesvc.DefaultMaxStale) {
		agree(func(c *Config) { c.Cache.Local.Lease = lease })
		agree(func(c *Config) { c.Cache.Local.Lease, c.Cache.Feed.Poll = lease, lease/2 })
		agree(func(c *Config) { c.Cache.Local.MaxStale = lease })
	}
	lives := map[string]func(*Config, time.Duration){
		"validation": func(c *Config, d time.Duration) { c.Cache.TTL.Validation = d },
		"scope":      func(c *Config, d time.Duration) { c.Cache.TTL.Scope = d },
		"user list":  func(c *Config, d time.Duration) { c.Cache.TTL.UserList = d },
		"negative":   func(c *Config, d time.Duration) { c.Cache.TTL.Negative = d },
		"stale":      func(c *Config, d time.Duration) { c.Cache.Local.MaxStale = d },
		"batch":      func(c *Config, d time.Duration) { c.Cache.TTL.UsageBatch = d },
		"stats":      func(c *Config, d time.Duration) { c.Cache.TTL.Stats = d },
		"flush":      func(c *Config, d time.Duration) { c.Usage.FlushInterval = d },
	}
	edges := slices.Concat(values(54*time.Minute, 55*time.Minute, 58*time.Minute, 59*time.Minute, time.Hour), []time.Duration{time.Millisecond, math.MaxInt64 / 2, math.MaxInt64})
	for _, set := range lives {
		for _, d := range edges {
			agree(func(c *Config) { set(c, d) })
			agree(func(c *Config) { set(c, d); c.Cache.Local.MaxStale = 5 * time.Second })
			agree(func(c *Config) { set(c, d); c.Cache.Feed.Retention = math.MaxInt64 })
		}
	}
	forEver := Defaults()
	forEver.Cache.TTL.Validation = math.MaxInt64
	if least := forEver.CacheService().MinRetention(); least != math.MaxInt64 {
		t.Errorf("what lives for ever needs a retention of %v", least)
	}
	for _, n := range []int{1, 2, 65535, 65536} {
		agree(func(c *Config) { c.Cache.Local.MaxMiB = n })
		agree(func(c *Config) { c.Cache.Local.MaxKeys, c.Cache.Local.MaxNegative = n, n })
	}
}
