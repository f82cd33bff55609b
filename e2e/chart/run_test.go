package chart

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"extauthz/e2e/parts"
)

// cluster holds the ConfigMaps and Secrets of a namespace by KIND/NAME, and their entries
// by key.
type cluster map[string]map[string]string

// add takes the ConfigMaps and Secrets of rendered objects in.
func (c cluster) add(t *testing.T, all []object) {
	t.Helper()
	for _, o := range all {
		entries := map[string]string{}
		data, _ := o.at("data").(map[string]any)
		for key, value := range data {
			text, _ := value.(string)
			if o.kind() == "Secret" {
				decoded, err := base64.StdEncoding.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				text = string(decoded)
			}
			entries[key] = text
		}
		if o.kind() == "ConfigMap" || o.kind() == "Secret" {
			c[o.kind()+"/"+o.name()] = entries
		}
	}
}

// entry returns one entry of a ConfigMap or Secret, and fails the test if it is missing:
// a pod would not start.
func (c cluster) entry(t *testing.T, object, key string) string {
	t.Helper()
	text, ok := c[object][key]
	if !ok {
		t.Fatalf("the pod would not start: %s has no %s", object, key)
	}
	return text
}

// newCluster returns a cluster as its owner has prepared it for the scenarios, with the
// Secrets that they name. The service's own command makes these.
func newCluster(t *testing.T, dsn string) cluster {
	t.Helper()
	made := parts.NewPod(t)
	if _, errOut, err := made.Run("secrets", "create", "/var/lib/extauthz/secrets"); err != nil {
		t.Fatalf("secrets create: %v: %s", err, errOut)
	}
	files, err := filepath.Glob(made.Root + "/var/lib/extauthz/secrets/*")
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"database.dsn": dsn}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		own[filepath.Base(f)] = string(text)
	}
	certificates := parts.NewCertificates(t)
	file := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	pair := map[string]string{"tls.crt": file(certificates.CertFile), "tls.key": file(certificates.KeyFile), "ca.crt": file(certificates.CAFile)}
	authority := map[string]string{"ca.crt": file(certificates.CAFile)}
	return cluster{
		"Secret/extauthz-secrets":     own,
		"Secret/extauthz-db-app":      {"uri": dsn},
		"Secret/extauthz-postgres":    {"pooled": dsn, "direct": dsn},
		"Secret/extauthz-redis":       {"password": "of-redis", "sentinel-password": "of-sentinels"},
		"Secret/extauthz-tls":         pair, // made by cert-manager
		"Secret/extauthz-certificate": pair,
		"Secret/gateway-ca":           authority,
		"ConfigMap/redis-ca":          authority,
		// The External Secrets Operator makes this one.
		"Secret/extauthz": {"admin.key": own["admin.key"], "pepper": own["pepper"], "pepper.old": own["sealing.key"], "sealing.key": own["sealing.key"], "database.dsn": dsn},
	}
}

// newPod lays out the pod of a Deployment or Job as Kubernetes does: each file at its
// mount path, read-only, with the environment of the container.
func newPod(t *testing.T, c cluster, workload object, env ...string) *parts.Pod {
	t.Helper()
	spec := object(workload.at("spec", "template", "spec").(map[string]any))
	container := spec.items("containers")[0]
	var environment []string
	for _, e := range container.items("env") {
		if value, ok := e.at("value").(string); ok {
			environment = append(environment, e.text("name")+"="+value)
		}
	}
	p := parts.NewPod(t, append(environment, env...)...)
	for _, mount := range container.items("volumeMounts") {
		for _, volume := range spec.items("volumes") {
			if volume.text("name") == mount.text("name") {
				mountVolume(t, p, c, volume, mount.text("mountPath"))
			}
		}
	}
	return p
}

func mountVolume(t *testing.T, p *parts.Pod, c cluster, volume object, at string) {
	t.Helper()
	switch {
	case volume.at("configMap") != nil:
		for key, text := range c["ConfigMap/"+volume.text("configMap", "name")] {
			p.Write(at+"/"+key, text, 0o444)
		}
	case volume.at("projected") != nil:
		mode := modeOf(t, volume.at("projected", "defaultMode"))
		for _, source := range volume.items("projected", "sources") {
			for _, item := range source.items("secret", "items") {
				p.Write(at+"/"+item.text("path"), c.entry(t, "Secret/"+source.text("secret", "name"), item.text("key")), mode)
			}
		}
	case volume.at("emptyDir") != nil, volume.at("persistentVolumeClaim") != nil:
		if at != "/var/lib/extauthz" {
			t.Fatalf("a folder at %s", at)
		}
	default:
		t.Fatalf("volume %v: this test does not know how Kubernetes mounts it", volume)
	}
}

// modeOf parses a file mode, in the form of YAML or JSON.
func modeOf(t *testing.T, v any) os.FileMode {
	t.Helper()
	switch n := v.(type) {
	case int:
		return os.FileMode(n) // #nosec G115 -- a mode
	case float64:
		return os.FileMode(n)
	default:
		t.Fatalf("mode %v", v)
		return 0
	}
}

// installed renders a scenario into a cluster and returns its Deployment.
func installed(t *testing.T, c cluster, scenario string, args ...string) object {
	t.Helper()
	all := objects(t, render(t, chartDir, append([]string{"-f", valuesFile(scenario)}, args...)...))
	c.add(t, all)
	name := "extauthz"
	if scenario == "restricted" {
		name = "authz"
	}
	return find(t, all, "Deployment", name)
}

// TestScenarios_ServiceAcceptsTheConfiguration runs `config check` in the pod, with the
// same files and as the same user as Kubernetes would.
func TestScenarios_ServiceAcceptsTheConfiguration(t *testing.T) {
	for _, scenario := range scenarios(t) {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, "postgres://extauthz@127.0.0.1:1/extauthz")
			p := newPod(t, c, installed(t, c, scenario))
			if scenario == "restricted" { // written by the injector
				for name, key := range map[string]string{"dsn": "database.dsn", "pepper": "pepper", "admin": "admin.key"} {
					p.Write("/vault/secrets/"+name, c["Secret/extauthz-secrets"][key], 0o440)
				}
			}
			out, errOut, err := p.Run("config", "check")
			if err != nil || !strings.Contains(out, "The configuration is valid.") {
				t.Fatalf("%v: %s", err, errOut)
			}
			if strings.Contains(errOut, "every user of this machine") {
				t.Errorf("secrets are open: %s", errOut)
			}
		})
	}
}

// serves makes a key by the command line in the pod and runs explain with it.
func serves(t *testing.T, p *parts.Pod) {
	t.Helper()
	p.Serve()
	for _, probe := range []string{"/healthz", "/readyz"} {
		if status := p.Status(probe); status != 200 {
			t.Errorf("%s: %d", probe, status)
		}
	}
	out, errOut, err := p.Run("keys", "create", "-o", "json", "--user", "alice", "--name", "laptop", "--scope", "orders:read")
	var key struct{ ID, Key string }
	if err != nil || json.Unmarshal([]byte(out), &key) != nil || key.Key == "" {
		t.Fatalf("keys create: %v: %s", err, errOut)
	}
	cmd := p.Command("explain", "GET", "/orders/1")
	cmd.Env = append(cmd.Env, "EXTAUTHZ_KEY="+key.Key)
	if said, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(said), "allow") {
		t.Fatalf("explain: %v: %s", err, said)
	}
	if out, errOut, err := p.Run("healthcheck"); err != nil || !strings.Contains(out, "serving") {
		t.Errorf("healthcheck: %v: %s", err, errOut)
	}
}

// TestChart_ServiceRunsOnSQLite: with the secrets that the chart made, including the
// first administrator's key.
func TestChart_ServiceRunsOnSQLite(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the service")
	}
	c := cluster{}
	p := newPod(t, c, installed(t, c, "sqlite"))
	serves(t, p)
	if _, err := os.Stat(p.Root + "/var/lib/extauthz/extauthz-data/extauthz.db"); err != nil {
		t.Errorf("the database is not on the volume: %v", err)
	}
}

// TestChart_ServiceRunsOnPostgresAndRedis runs two replicas of the production scenario,
// with addresses of this machine. A key that one replica makes is known to the other.
func TestChart_ServiceRunsOnPostgresAndRedis(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres and Redis")
	}
	postgres := parts.StartPostgres(t)
	c := newCluster(t, postgres.NewDatabase(t))
	redis := parts.StartRedis(t, "--requirepass", c["Secret/extauthz-secrets"]["redis.password"])
	deployment := installed(t, c, "production")
	replica := func() *parts.Pod {
		return newPod(t, c, deployment, "EXTAUTHZ_CACHE__REDIS__ADDRESSES="+redis.Addr(), "EXTAUTHZ_DEFAULT_ROUTE=map")
	}
	a, b := replica(), replica()
	serves(t, a)
	serves(t, b)
	out, errOut, err := b.Run("keys", "list", "-o", "json")
	if err != nil || strings.Count(out, `"alice"`) != 2 {
		t.Errorf("the second replica's keys: %v: %s%s", err, out, errOut)
	}
	if status, _, err := b.Run("cache", "stats", "-o", "json"); err != nil || !strings.Contains(status, "redis") {
		t.Errorf("Redis is not in use: %v: %s", err, status)
	}
}

// TestChart_MigrationJobMigrates: after the hook the service finds the database at its
// version.
func TestChart_MigrationJobMigrates(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Postgres")
	}
	c := newCluster(t, parts.StartPostgres(t).NewDatabase(t))
	all := objects(t, render(t, chartDir, "-f", valuesFile("cloudnativepg")))
	c.add(t, all)
	job := newPod(t, c, find(t, all, "Job", "extauthz-migrations"))
	out, errOut, err := job.Run("migrate", "up", "-o", "json")
	var status struct{ Current, Newest int }
	if err != nil || json.Unmarshal([]byte(out), &status) != nil || status.Current == 0 || status.Current != status.Newest {
		t.Fatalf("migrate up: %v: %s%s", err, out, errOut)
	}
	out, errOut, err = newPod(t, c, find(t, all, "Deployment", "extauthz")).Run("migrate", "status", "-o", "json")
	if err != nil || !strings.Contains(strings.ReplaceAll(out, " ", ""), fmt.Sprintf(`"current":%d`, status.Newest)) {
		t.Errorf("migrate status: %v: %s%s", err, out, errOut)
	}
}

// TestChart_PodWithAnInvalidConfigurationReportsWhy: the reason is in the last lines of
// its log, which become its termination message.
func TestChart_PodWithAnInvalidConfigurationReportsWhy(t *testing.T) {
	c := newCluster(t, "postgres://extauthz@127.0.0.1:1/extauthz")
	deployment := installed(t, c, "istio")
	container := object(deployment.at("spec", "template", "spec").(map[string]any)).items("containers")[0]
	if policy := container.text("terminationMessagePolicy"); policy != "FallbackToLogsOnError" {
		t.Errorf("terminationMessagePolicy %q", policy)
	}
	c["Secret/extauthz-secrets"]["pepper"] = "short"
	said := newPod(t, c, deployment, "EXTAUTHZ_ON_ERROR=allow").Ends()
	for _, want := range []string{`on_error: "allow" is none of`, "/run/extauthz/secrets/pepper"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q: %s", want, said)
		}
	}
	if len(said) > 4096 {
		t.Errorf("a termination message has 4,096 bytes, not %d", len(said))
	}
}
