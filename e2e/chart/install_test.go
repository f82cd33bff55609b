//go:build kube

package chart

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"extauthz/e2e/parts"
)

// api is a real Kubernetes API, with Helm.
type api struct {
	*parts.Kubernetes
	t *testing.T
}

func newAPI(t *testing.T) *api {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a Kubernetes API")
	}
	k := &api{parts.StartKubernetes(t), t}
	text, err := os.ReadFile(parts.ChartPart(t, "custom.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	k.Define(string(text))
	for _, name := range []string{"monitoring", "istio-ingress", "gateways"} {
		k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n")
	}
	return k
}

func (k *api) helm(args ...string) string {
	k.t.Helper()
	out, errOut, err := parts.Helm(k.t, k.Kubeconfig, args...)
	if err != nil {
		k.t.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, errOut)
	}
	return out
}

// get reads an object of the API.
func (k *api) get(apiVersion, kind, in, name string) object {
	k.t.Helper()
	o := object{}
	if err := k.Get(parts.Object{APIVersion: apiVersion, Kind: kind, Metadata: parts.Metadata{Name: name, Namespace: in}}, &o); err != nil {
		k.t.Fatal(err)
	}
	return o
}

// put makes a ConfigMap or Secret.
func (k *api) put(in, object string, entries map[string]string) {
	k.t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	data := map[string]string{}
	for key, text := range entries {
		if kind == "Secret" {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		data[key] = text
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name, "namespace": in}, "data": data})
	if err != nil {
		k.t.Fatal(err)
	}
	k.Apply(string(text))
}

// TestChart_InstallsUpgradesAndRollsBack runs each documented installation on a real
// Kubernetes API, from the previous chart to this one and back. Hooks are left out, since
// no controller runs there. Secrets that the chart made do not change.
func TestChart_InstallsUpgradesAndRollsBack(t *testing.T) {
	k := newAPI(t)
	for i, scenario := range scenarios(t) {
		t.Run(scenario, func(t *testing.T) {
			k := &api{k.Kubernetes, t}
			in := fmt.Sprintf("ns-%d", i)
			k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + in + "}\n")
			if scenario == "production" { // it names only the gateway's namespace
				k.Apply("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: tests}\nvalue: 1\n")
			}
			args := []string{"extauthz", chartDir, "-n", in, "-f", valuesFile(scenario), "--no-hooks"}
			k.helm("install", "extauthz", previous, "-n", in, "-f", valuesFile(scenario), "--no-hooks")
			secret := func() any {
				if scenario != "sqlite" && scenario != "trial" && scenario != "cloudnativepg" {
					return nil
				}
				return k.get("v1", "Secret", in, "extauthz").at("data")
			}
			made := fmt.Sprint(secret())
			k.helm(append([]string{"upgrade"}, args...)...)
			deployment := func() object {
				name := "extauthz"
				if scenario == "restricted" {
					name = "authz"
				}
				return k.get("apps/v1", "Deployment", in, name)
			}
			if deployment().text("metadata", "labels", "helm.sh/chart") == "extauthz-0.1.0" {
				t.Error("the upgrade changed nothing")
			}
			k.admits(in)
			k.helm("rollback", "extauthz", "1", "-n", in, "--no-hooks")
			if got := deployment().text("metadata", "labels", "helm.sh/chart"); got != "extauthz-0.1.0" {
				t.Errorf("rolled back to %s", got)
			}
			k.helm(append([]string{"upgrade"}, args...)...)
			if now := fmt.Sprint(secret()); now != made {
				t.Error("the Secret has changed: no key could be verified any more")
			}
			k.helm("uninstall", "extauthz", "-n", in, "--no-hooks")
			if now := fmt.Sprint(secret()); now != made {
				t.Error("the Secret did not outlive the release")
			}
			k.helm(append([]string{"install"}, args...)...)
			if now := fmt.Sprint(secret()); now != made {
				t.Error("a new release did not take the Secret over")
			}
		})
	}
}

// admits lets the API judge the pods of a namespace's Deployments by its strictest
// standard for pods (Pod Security Standards, restricted).
func (k *api) admits(in string) {
	k.t.Helper()
	k.Apply(`{apiVersion: v1, kind: Namespace, metadata: {name: restricted, labels: {pod-security.kubernetes.io/enforce: restricted}}}`)
	deployments := object{}
	if err := k.Get(parts.Object{APIVersion: "apps/v1", Kind: "Deployment", Metadata: parts.Metadata{Namespace: in}}, &deployments); err != nil {
		k.t.Fatal(err)
	}
	for _, d := range deployments.items("items") {
		text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": in + "-" + d.name(), "namespace": "restricted"}, "spec": d.at("spec", "template", "spec")})
		if err != nil {
			k.t.Fatal(err)
		}
		k.Apply(string(text))
	}
	if len(deployments.items("items")) == 0 {
		k.t.Error("no Deployments")
	}
}

// installedOn returns a cluster with the ConfigMaps and Secrets of a release that the API
// holds.
func (k *api) installedOn(in string, names ...string) cluster {
	k.t.Helper()
	c := cluster{}
	for _, name := range names {
		kind, name, _ := strings.Cut(name, "/")
		o := k.get("v1", kind, in, name)
		o["kind"] = kind
		c.add(k.t, []object{o})
	}
	return c
}

// TestChart_ServiceRunsOnWhatTheAPIHolds: after `helm install`, ConfigMap, Secrets and
// Deployment are read from the API, laid out as a kubelet would do it, and run. Then a
// setting that needs no restart is upgraded while the service runs.
func TestChart_ServiceRunsOnWhatTheAPIHolds(t *testing.T) {
	k := newAPI(t)
	k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: extauthz}\n")
	postgres := parts.StartPostgres(t)
	prepared := newCluster(t, postgres.NewDatabase(t))
	secret := prepared["Secret/extauthz-secrets"]
	redis := parts.StartRedis(t, "--requirepass", secret["redis.password"])
	k.put(namespace, "Secret/extauthz-secrets", secret)
	k.put(namespace, "Secret/extauthz-tls", prepared["Secret/extauthz-tls"]) // what cert-manager would put there
	k.put(namespace, "Secret/gateway-ca", prepared["Secret/gateway-ca"])
	notes := k.helm("install", "extauthz", chartDir, "-n", namespace, "-f", valuesFile("production"))
	if !strings.Contains(notes, "kubectl -n extauthz rollout status deployment/extauthz") {
		t.Errorf("the notes: %s", notes)
	}
	names := []string{"ConfigMap/extauthz", "Secret/extauthz-secrets", "Secret/extauthz-tls", "Secret/gateway-ca"}
	c := k.installedOn(namespace, names...)
	deployment := k.get("apps/v1", "Deployment", namespace, "extauthz")
	p := newPod(t, c, deployment, "EXTAUTHZ_CACHE__REDIS__ADDRESSES="+redis.Addr())
	p.Serve()
	status, errOut, err := p.Run("routes", "match", "GET", "https://api.example.com/v1/orders/1")
	if err != nil || !strings.Contains(status, "orders/1") {
		t.Errorf("routes match: %v: %s%s", err, status, errOut)
	}

	before := deployment.text("spec", "template", "metadata", "annotations", "extauthz/restart-checksum")
	k.helm("upgrade", "extauthz", chartDir, "-n", namespace, "-f", valuesFile("production"), "--set", "config.log.level=debug")
	if k.get("apps/v1", "Deployment", namespace, "extauthz").text("spec", "template", "metadata", "annotations", "extauthz/restart-checksum") != before {
		t.Error("a log level replaces the pods")
	}
	p.Write("/etc/extauthz/extauthz.yaml", k.installedOn(namespace, names...)["ConfigMap/extauthz"]["extauthz.yaml"], 0o444)
	p.Awaits(`"msg":"configuration reloaded","changed":["log.level"]`)
}

// TestChart_MigrationHookComesFirst: Helm waits for the job. The job is run here from the
// objects of the API, as a kubelet would do it. If it fails, nothing else is installed.
func TestChart_MigrationHookComesFirst(t *testing.T) {
	k := newAPI(t)
	dsn := parts.StartPostgres(t).NewDatabase(t)
	for _, run := range []struct{ in, dsn, condition string }{
		{"fails", "postgres://unknown@127.0.0.1:1/none", "Failed"},
		{"works", dsn, "Complete"},
	} {
		t.Run(run.in, func(t *testing.T) {
			k := &api{k.Kubernetes, t}
			k.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + run.in + "}\n")
			k.put(run.in, "Secret/extauthz-db-app", map[string]string{"uri": run.dsn})
			installed := make(chan error, 1)
			go func() {
				_, errOut, err := parts.Helm(t, k.Kubeconfig, "install", "extauthz", chartDir, "-n", run.in, "-f", valuesFile("cloudnativepg"), "--set", "migrations.backoffLimit=0")
				if err != nil {
					err = fmt.Errorf("%w: %s", err, errOut)
				}
				installed <- err
			}()
			name := parts.Object{APIVersion: "batch/v1", Kind: "Job", Metadata: parts.Metadata{Name: "extauthz-migrations", Namespace: run.in}}
			job := object{}
			if err := parts.Eventually(t.Context(), func() error { return k.Get(name, &job) }); err != nil {
				t.Fatal(err)
			}
			pod := newPod(t, k.installedOn(run.in, "ConfigMap/extauthz-migrations", "Secret/extauthz-db-app"), job)
			_, said, err := pod.Run("migrate", "up")
			if (err == nil) != (run.condition == "Complete") {
				t.Fatalf("migrate up: %v: %s", err, said)
			}
			now := time.Now().UTC().Format(time.RFC3339)
			status := map[string]any{"startTime": now}
			criterion := "FailureTarget"
			if run.condition == "Complete" {
				criterion, status["completionTime"], status["succeeded"] = "SuccessCriteriaMet", now, 1
			} else {
				status["failed"] = 1
			}
			var conditions []map[string]string
			for _, c := range []string{criterion, run.condition} {
				conditions = append(conditions, map[string]string{"type": c, "status": "True", "lastTransitionTime": now, "lastProbeTime": now})
			}
			status["conditions"] = conditions
			k.SetStatus(name, status)
			err = <-installed
			gone := k.Get(parts.Object{APIVersion: "apps/v1", Kind: "Deployment", Metadata: parts.Metadata{Name: "extauthz", Namespace: run.in}}, &object{}) != nil
			if wrong := run.condition == "Failed"; (err != nil) != wrong || gone != wrong {
				t.Errorf("the job %s, helm install: %v, no Deployment: %v", run.condition, err, gone)
			}
		})
	}
}
