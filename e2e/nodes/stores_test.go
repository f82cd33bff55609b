//go:build kube

package nodes

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// maxStale is how long a replica may go on with what it knows while the database is
// away (cache.local.max_stale), with the time in which it is noticed.
const maxStale = 5*time.Minute + 10*time.Second

// emptyDatabase replaces the trial's Postgres by an empty one, as a rescheduled pod
// does: the service makes its tables and its administrator again, takes new keys, and
// refuses those that were lost.
func emptyDatabase(t *testing.T, s *site) {
	s.ready(t, 3)
	lost, begin := s.key, time.Now()
	s.kubectl(t, "delete", "pod", "-l", "app.kubernetes.io/component=trial-postgres")
	s.within(t, 2*time.Minute, func() error {
		said, err := s.Try("kubectl", "-n", s.release, "exec", "deployment/extauthz", "--", "extauthz", "keys", "create", "--user", "bob", "--name", "after", "--scope", "orders:read", "-o", "json")
		var made struct{ Key string }
		if err == nil {
			err = json.Unmarshal([]byte(said), &made)
		}
		s.key = made.Key
		return err
	})
	s.answers(t, http.StatusOK, s.key)
	t.Logf("%s: a key of the new database is allowed after %v", t.Name(), time.Since(begin).Round(100*time.Millisecond))
	s.within(t, maxStale, func() error {
		for range 6 { // of every replica
			if got := s.once(lost); got != http.StatusUnauthorized {
				return fmt.Errorf("a key of the lost database is answered with %d", got)
			}
		}
		return nil
	})
	t.Logf("%s: a key of the lost database is refused by all replicas after %v", t.Name(), time.Since(begin).Round(100*time.Millisecond))
	s.ready(t, 3)
}

// once is the status of one request; 0 is no answer.
func (s *site) once(key string) int {
	req, err := http.NewRequest(http.MethodGet, "http://"+s.envoy+"/orders/42", nil)
	if err != nil {
		return 0
	}
	req.Header.Set("x-api-key", key)
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

// ownPostgres is a Postgres that the chart knows by a Secret alone.
const ownPostgres = `
apiVersion: v1
kind: Namespace
metadata: {name: data}
---
apiVersion: v1
kind: Secret
metadata: {name: postgres, namespace: data}
stringData: {password: of-a-test}
---
apiVersion: v1
kind: Service
metadata: {name: postgres, namespace: data}
spec: {selector: {app: postgres}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: postgres, namespace: data}
spec:
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      securityContext: {runAsUser: 999, runAsGroup: 999, fsGroup: 999}
      containers:
        - name: postgres
          image: postgres:17-bookworm
          imagePullPolicy: Never
          env:
            - {name: POSTGRES_USER, value: extauthz}
            - {name: POSTGRES_DB, value: extauthz}
            - {name: POSTGRES_PASSWORD_FILE, value: /run/secrets/postgres/password}
            - {name: POSTGRES_INITDB_ARGS, value: --auth-host=scram-sha-256}
            - {name: PGDATA, value: /var/lib/postgresql/data/pgdata}
          readinessProbe: {exec: {command: [pg_isready, -q, -h, 127.0.0.1, -U, extauthz]}, periodSeconds: 1}
          volumeMounts:
            - {name: password, mountPath: /run/secrets/postgres}
            - {name: data, mountPath: /var/lib/postgresql/data}
            - {name: socket, mountPath: /var/run/postgresql}
            - {name: tmp, mountPath: /tmp}
      volumes:
        - {name: password, secret: {secretName: postgres}}
        - {name: data, emptyDir: {}}
        - {name: socket, emptyDir: {}}
        - {name: tmp, emptyDir: {}}
`

// slow has each statement of a migration take some seconds, as one of many keys would.
const slow = `CREATE FUNCTION slow() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); END'; CREATE EVENT TRIGGER slow ON ddl_command_start EXECUTE FUNCTION slow()`

// migrations brings a Postgres of one's own to its version, at the start of the pods
// and by the job before them, and takes longer than the probes allow a start.
func migrations(t *testing.T, s *site) {
	s.Apply(ownPostgres)
	s.must(t, "kubectl", "-n", "data", "rollout", "status", "deployment/postgres", "--timeout=120s")
	for _, mode := range []string{"start", "job"} {
		t.Run(mode, func(t *testing.T) { s.migrates(t, mode) })
	}
	s.must(t, "kubectl", "delete", "namespace", "data", "--wait=false")
}

func (s *site) migrates(t *testing.T, mode string) {
	name, probes := "migrates-"+mode, 10*time.Second
	psql := func(database, statement string) {
		t.Helper()
		s.must(t, "kubectl", "-n", "data", "exec", "deployment/postgres", "--", "psql", "-h", "/var/run/postgresql", "-U", "extauthz", "-d", database, "-v", "ON_ERROR_STOP=1", "-c", statement)
	}
	database := strings.ReplaceAll(name, "-", "_")
	psql("postgres", "CREATE DATABASE "+database)
	psql(database, slow)
	s.Apply(fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %[1]s}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: database, namespace: %[1]s}\nstringData: {uri: \"postgres://extauthz:of-a-test@postgres.data:5432/%[2]s?sslmode=disable\"}\n", name, database))
	begin := time.Now()
	s.must(t, "helm", "install", "extauthz", s.chart, "-n", name, "--timeout", "5m", "--set", "databaseSecret.name=database,secrets.generate=true,replicaCount=1,podDisruptionBudget.enabled=false,migrations.mode="+mode,
		"--set", "startupProbe.failureThreshold=5,livenessProbe.failureThreshold=2,livenessProbe.periodSeconds=5")
	s.must(t, "kubectl", "-n", name, "rollout", "status", "deployment/extauthz", "--timeout=300s")
	took := time.Since(begin)
	if took < 2*probes {
		t.Errorf("the migration took %v: too little to show anything", took)
	}
	if restarts := s.must(t, "kubectl", "-n", name, "get", "pods", "-l", replicas, "-o", "jsonpath={..restartCount}"); restarts != "0" {
		t.Errorf("restarts of the pod: %s", restarts)
	}
	t.Logf("%s: ready after %v, where probes allow a start %v; no restart", t.Name(), took.Round(time.Second), probes)
	s.must(t, "helm", "uninstall", "extauthz", "-n", name, "--wait")
	s.must(t, "kubectl", "delete", "namespace", name, "--wait=false")
}
