package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"extauthz/authz"
	"extauthz/e2e/parts"
)

// The shapes of seeded keys.
var (
	reference = parts.Shape{User: "%08x-0000-4000-8000-000000000000", Name: "reference key of 20b", Metadata: "{}",
		Scopes: `[{"resource":"orders","actions":["read"]},{"resource":"invoices","actions":["create","read"]},{"resource":"reports/eu","actions":["read"]}]`}
	heavy = parts.Shape{User: reference.User, Name: reference.Name, Metadata: `{"tier":"gold","team":"checkout","region":"eu-west-1"}`,
		Scopes: `[{"resource":"orders","actions":["read"]},{"resource":"r1","actions":["read"]},{"resource":"r2","actions":["read"]},{"resource":"r3","actions":["read"]},{"resource":"r4","actions":["read"]},` +
			`{"resource":"r5","actions":["read"]},{"resource":"r6","actions":["read"]},{"resource":"r7","actions":["read"]},{"resource":"r8","actions":["read"]},{"resource":"r9","actions":["create","read"]}]`}
)

// keptFor is how long a record in the cache is used here: longer than a run, so that the
// cache is warm throughout the measurement. With the default of five minutes each key in
// use is read anew about so often, in the background.
const keptFor = time.Hour

// environment is where the servers of a run are started.
type environment struct {
	*run
	*sharedSetup
}

// sharedSetup holds what the parts of a run share: one Postgres, whose databases are
// seeded at their first use.
type sharedSetup struct {
	options
	whole         *run
	administrator string // the first administrator's key
	keyFile       string // its file
	postgres      *parts.Postgres
	databases     map[string]*database
}

// database is a migrated database with keys in it.
type database struct {
	dsn    string
	keys   []string
	binary string // another build, whose schema version it has; "": this build's
}

func newSite(r *run, o options) *environment {
	s := &environment{run: r, sharedSetup: &sharedSetup{options: o, whole: r, databases: map[string]*database{}}}
	format, err := authz.NewKeyFormat(authz.KeyFormatConfig{})
	r.must(err)
	key, _, err := format.Generate("live", rand.Reader)
	r.must(err)
	s.administrator = key.Reveal()
	s.keyFile = r.file("first.key", s.administrator)
	r.must(os.Setenv("E2E_PLAIN_BUILD", "1")) // no figure is taken under the race detector
	r.Cleanup(parts.RemoveBuild)
	return s
}

// on returns the environment for a part of its run.
func (s *environment) on(r *run) *environment { return &environment{r, s.sharedSetup} }

// seeded returns the database of n keys of a shape.
func (s *environment) seeded(n int, shape parts.Shape) *database {
	name := fmt.Sprint(n, shape)
	if d := s.databases[name]; d != nil {
		return d
	}
	kept := outlivingRun{s.run, s.whole}
	if s.postgres == nil {
		s.postgres = parts.StartPostgres(kept)
	}
	d := &database{dsn: s.postgres.NewDatabase(kept)}
	s.fill(d, n, shape)
	s.databases[name] = d
	return d
}

// seededBy is seeded for a database of another build's schema version.
func (s *environment) seededBy(binary string, n int, shape parts.Shape) *database {
	d := &database{dsn: s.postgres.NewDatabase(outlivingRun{s.run, s.whole}), binary: binary}
	s.fill(d, n, shape)
	return d
}

func (s *environment) fill(d *database, n int, shape parts.Shape) {
	s.within(func(r *run) {
		s.on(r).start(d, "cache: {warm: {keys: 0}}").Stop() // migrates
	})
	if n > 0 {
		s.say("seeding %d keys", n)
		d.keys = parts.SeedKeysOf(s.run, d.dsn, n, shape)
	}
}

// start runs the service on a database.
func (s *environment) start(d *database, configuration string) *parts.Service {
	configuration = fmt.Sprintf("admin: {bootstrap_key_file: %q}\nops: {pprof: true}\ndatabase: {driver: postgres, dsn: %q, listen_dsn: %q}\n%s", s.keyFile, d.dsn, d.dsn, configuration)
	if d.binary != "" {
		return parts.StartBinary(s.run, d.binary, configuration)
	}
	return parts.StartService(s.run, configuration)
}

// cacheSettings returns the section cache for a service whose keys stay cached; more
// holds further settings of that section.
func cacheSettings(more string) string {
	return fmt.Sprintf("cache: {ttl: {validation: %v}, feed: {retention: %v}, warm: {keys: 0}%s}", keptFor, 2*keptFor, more)
}

// service is a running service that has all keys of its database in memory.
type service struct {
	*parts.Service
	*target
	*database
	api *api
}

// warm starts a service and warms it; rest is more of its configuration.
func (s *environment) warm(d *database, redis, socket bool, rest string) *service {
	more := ""
	if redis {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails
		more = fmt.Sprintf(", sealing_key_file: %q, redis: {addresses: [%q]}", s.file("sealing.key", hex.EncodeToString(secret)), parts.StartRedis(s.run).Addr())
	}
	if socket {
		rest += fmt.Sprintf("\ngrpc: {listen: %q}", "unix:"+s.TempDir()+"/grpc")
	}
	return s.attach(s.start(d, cacheSettings(more)+"\n"+rest), d)
}

// attach connects to a service and warms it.
func (s *environment) attach(running *parts.Service, d *database) *service {
	x := &service{Service: running, database: d}
	x.api = newAPI(s.run, x.Admin, s.administrator)
	s.awaitMembers(x)
	x.target = dial(s.run, "service", x.GRPC, x.PID())
	if len(d.keys) > 0 {
		began := time.Now()
		s.must(x.api.call(http.MethodPost, "/v1/cache/warm", map[string]any{"keys": len(d.keys) + 1}, nil))
		s.say("warmed %d keys in %v", len(d.keys), time.Since(began).Round(time.Millisecond))
	}
	return x
}

// awaitMembers waits until the service knows all prefixes, which it reads after it has
// become ready.
func (s *environment) awaitMembers(x *service) {
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	s.must(parts.Eventually(ctx, func() error {
		var state struct {
			Cache struct {
				Members int `json:"members"`
			} `json:"cache"`
		}
		if err := getJSON("http://"+x.Ops+"/readyz", &state); err != nil {
			return err
		}
		// Members leaves out keys that the filter already seemed to contain, about one in
		// some thousands.
		if float64(state.Cache.Members) < .999*float64(len(x.keys)) {
			return fmt.Errorf("%d of %d prefixes are known", state.Cache.Members, len(x.keys))
		}
		return nil
	}))
}

func getJSON(url string, into any) error {
	res, err := http.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	return json.NewDecoder(res.Body).Decode(into)
}

// api calls the management API.
type api struct {
	client *http.Client
	url    string
	token  string
}

func newAPI(r *run, address, token string) *api {
	transport := &http.Transport{MaxIdleConnsPerHost: 2 * creators}
	r.Cleanup(transport.CloseIdleConnections)
	return &api{client: &http.Client{Transport: transport, Timeout: 10 * time.Minute}, url: "http://" + address, token: token}
}

// call sends a value as JSON and decodes the answer into another one; either may be nil.
func (a *api) call(method, path string, send, into any) error {
	body, err := json.Marshal(send)
	if err != nil {
		return err
	}
	if send == nil {
		body = nil
	}
	req, err := http.NewRequest(method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, strings.TrimSpace(string(answer)))
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}
