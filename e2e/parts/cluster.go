package parts

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Addresses of a cluster. They are in networks of the test's own.
const (
	ClusterAddress = "10.99.0.1" // of the control plane, which runs beside the test
	serviceRange   = "10.96.0.0/16"
	podRange       = "10.244.0.0/16"
	clusterURL     = "https://" + ClusterAddress + ":6443"
	clusterStart   = 3 * time.Minute // on a busy machine
)

//go:embed cluster/coredns.yaml
var clusterDNS string

//go:embed cluster/metrics.yaml
var clusterMetrics string

// Cluster is a Kubernetes that runs pods: a control plane, and nodes that have
// networks, mounts and processes of their own, all of them plain processes of one
// machine.
type Cluster struct {
	Kubeconfig string // the path of a file, for an administrator
	Nodes      []*Node

	tb        testing.TB
	dir       string
	authority *Authority
	certs     map[string]Certificates
	mu        sync.Mutex
	commands  []*exec.Cmd
}

// nodesFolder returns the folder where `scripts/install-parts.sh nodes` put Kubernetes'
// programs.
func nodesFolder(tb testing.TB) string {
	tb.Helper()
	return installedFolder(tb, "kube", "tools/kube/go.mod")
}

// HasClusterParts reports whether Kubernetes' programs were built.
func HasClusterParts(tb testing.TB) bool {
	tb.Helper()
	_, err := os.Stat(filepath.Join(nodesFolder(tb), "nodes"))
	return err == nil
}

// cgroupsVariable names the prefix of the nodes' control groups. These outlive the
// processes in them, so they are removed from outside.
const cgroupsVariable, cgroupsPrefix = "E2E_CGROUPS", "extauthz-kube-"

// IsolatedCluster is Isolated for a test that starts a cluster. It first removes control
// groups that a killed cluster left behind; nothing else is ever left.
func IsolatedCluster(t *testing.T, env ...string) bool {
	t.Helper()
	if isolated() {
		enter(t)
		// Processes have other numbers in here than outside.
		if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		return true
	}
	needRoot(t)
	removeControlGroups("")
	prefix := fmt.Sprintf("%s%d", cgroupsPrefix, os.Getpid())
	defer removeControlGroups(prefix)
	runInside(t, append(env, cgroupsVariable+"="+prefix)...)
	return false
}

// StartCluster starts a cluster whose nodes have the images from a folder of archives,
// and waits until its DNS and metrics answer. It has to be called within IsolatedCluster.
func StartCluster(tb testing.TB, images string, nodes int) *Cluster {
	tb.Helper()
	if !HasClusterParts(tb) {
		Missing(tb, errors.New("run scripts/install-parts.sh nodes"))
	}
	c := &Cluster{tb: tb, dir: tb.TempDir(), authority: NewAuthority(tb), certs: map[string]Certificates{}}
	c.Kubeconfig = c.kubeconfig("admin")
	tb.Cleanup(c.stop)
	ip(tb, "link", "add", "br0", "type", "bridge")
	ip(tb, "address", "add", ClusterAddress+"/24", "dev", "br0")
	ip(tb, "link", "set", "br0", "up")
	for i := range nodes {
		c.Nodes = append(c.Nodes, c.newNode(i+1))
	}
	c.startControlPlane()
	c.startNodes(images)
	c.startAddons()
	return c
}

// stop ends what was started. All processes of a node end with its first process.
func (c *Cluster) stop() {
	for _, n := range c.Nodes {
		_ = n.init.Process.Kill()
		_ = n.init.Wait() // returns once all others have ended
	}
	for _, cmd := range c.commands {
		_ = cmd.Process.Kill()
	}
	for _, cmd := range c.commands {
		_ = cmd.Wait()
	}
}

// program is a program of Kubernetes.
func (c *Cluster) program(name string) string { return filepath.Join(nodesFolder(c.tb), name) }

// run starts a program whose output goes to a file.
func (c *Cluster) run(name, program string, args ...string) {
	c.tb.Helper()
	cmd := exec.Command(program, args...)
	out, err := os.Create(c.logFile(name))
	if err != nil {
		c.tb.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.dir, out, out
	if err := cmd.Start(); err != nil {
		c.tb.Fatalf("%s: %v", name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commands = append(c.commands, cmd)
}

func (c *Cluster) logFile(name string) string { return filepath.Join(c.dir, name+".log") }

// await calls f until it returns nil. If that takes too long, the test ends with the last
// lines of a program's output.
func (c *Cluster) await(what, program string, f func() error) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clusterStart)
	defer cancel()
	if err := Eventually(ctx, f); err != nil {
		text, _ := os.ReadFile(c.logFile(program))
		c.tb.Fatalf("%s: %v\n%s: %s", what, err, program, text[max(0, len(text)-4000):])
	}
}

// certificate issues a certificate for a subject, and for names and addresses of a
// server.
func (c *Cluster) certificate(name string, subject pkix.Name, names []string, addresses ...string) {
	c.tb.Helper()
	template := x509.Certificate{Subject: subject, DNSNames: names, NotBefore: c.authority.cert.NotBefore, NotAfter: c.authority.cert.NotAfter}
	for _, a := range addresses {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(a))
	}
	dir := filepath.Join(c.dir, "pki-"+name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.tb.Fatal(err)
	}
	c.certs[name] = c.authority.issue(dir, template)
}

// kubeconfig writes a configuration for a user, whose token is its name.
func (c *Cluster) kubeconfig(user string) string {
	c.tb.Helper()
	path := filepath.Join(c.dir, user+".kubeconfig")
	write(c.tb, path, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: tests
clusters: [{name: tests, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: tests, user: {token: %s}}]
contexts: [{name: tests, context: {cluster: tests, user: tests}}]
`, clusterURL, c.authority.CAFile, user))
	return path
}

// startControlPlane starts etcd, the API, controllers and the scheduler.
func (c *Cluster) startControlPlane() {
	c.tb.Helper()
	c.certificate("api", pkix.Name{CommonName: "kube-apiserver"}, []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"}, ClusterAddress, "10.96.0.1", "127.0.0.1")
	c.certificate("kubelet-client", pkix.Name{CommonName: "apiserver", Organization: []string{"system:masters"}}, nil)
	c.certificate("front-proxy", pkix.Name{CommonName: "front-proxy"}, nil)
	c.certificate("accounts", pkix.Name{CommonName: "accounts"}, nil)
	tokens := "admin,admin,admin,system:masters\ncontrollers,system:kube-controller-manager,controllers\nscheduler,system:kube-scheduler,scheduler\nproxy,system:kube-proxy,proxy\n"
	for _, n := range c.Nodes {
		tokens += fmt.Sprintf("%[1]s,system:node:%[1]s,%[1]s,system:nodes\n", n.Name)
	}
	tokensFile := filepath.Join(c.dir, "tokens.csv")
	write(c.tb, tokensFile, tokens)

	c.run("etcd", installed(c.tb, "etcd"), "--data-dir", filepath.Join(c.dir, "etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379", "--listen-peer-urls", "http://127.0.0.1:2380",
		"--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380")
	api, accounts, front, kubelet := c.certs["api"], c.certs["accounts"], c.certs["front-proxy"], c.certs["kubelet-client"]
	c.run("kube-apiserver", c.program("kube-apiserver"), "--etcd-servers", "http://127.0.0.1:2379", "--bind-address", "0.0.0.0", "--secure-port", "6443", "--advertise-address", ClusterAddress,
		"--tls-cert-file", api.CertFile, "--tls-private-key-file", api.KeyFile, "--client-ca-file", api.CAFile, "--token-auth-file", tokensFile,
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--allow-privileged",
		"--service-account-key-file", accounts.CertFile, "--service-account-signing-key-file", accounts.KeyFile, "--service-account-issuer", "https://kubernetes.default.svc",
		"--service-cluster-ip-range", serviceRange, "--kubelet-client-certificate", kubelet.CertFile, "--kubelet-client-key", kubelet.KeyFile, "--kubelet-preferred-address-types", "InternalIP",
		"--requestheader-client-ca-file", api.CAFile, "--requestheader-allowed-names", "front-proxy", "--requestheader-extra-headers-prefix", "X-Remote-Extra-",
		"--requestheader-group-headers", "X-Remote-Group", "--requestheader-username-headers", "X-Remote-User",
		"--proxy-client-cert-file", front.CertFile, "--proxy-client-key-file", front.KeyFile, "--enable-aggregator-routing")
	c.await("the API is not ready", "kube-apiserver", func() error {
		_, err := c.Try("kubectl", "get", "--raw", "/readyz")
		return err
	})
	controllers, scheduler := c.kubeconfig("controllers"), c.kubeconfig("scheduler")
	c.run("kube-controller-manager", c.program("kube-controller-manager"), "--kubeconfig", controllers, "--authentication-kubeconfig", controllers, "--authorization-kubeconfig", controllers,
		"--leader-elect=false", "--use-service-account-credentials", "--service-account-private-key-file", accounts.KeyFile, "--root-ca-file", api.CAFile, "--bind-address", "127.0.0.1",
		"--node-monitor-grace-period", "40s", "--horizontal-pod-autoscaler-sync-period", "5s")
	c.run("kube-scheduler", c.program("kube-scheduler"), "--kubeconfig", scheduler, "--authentication-kubeconfig", scheduler, "--authorization-kubeconfig", scheduler, "--leader-elect=false", "--bind-address", "127.0.0.1")
}

// startAddons starts what every cluster also has: DNS, and the programs that pods need.
func (c *Cluster) startAddons() {
	c.tb.Helper()
	c.Apply(clusterDNS)
	c.run("metrics-server", c.program("metrics-server"), "--kubeconfig", c.Kubeconfig, "--authentication-kubeconfig", c.Kubeconfig, "--authorization-kubeconfig", c.Kubeconfig, "--secure-port", "4443",
		"--cert-dir", filepath.Join(c.dir, "metrics"), "--kubelet-insecure-tls", "--kubelet-preferred-address-types", "InternalIP", "--metric-resolution", "10s", "--kubelet-request-timeout", "5s")
	c.Apply(clusterMetrics)
	c.await("metrics do not answer", "metrics-server", func() error {
		_, err := c.Try("kubectl", "get", "--raw", "/apis/metrics.k8s.io/v1beta1")
		return err
	})
	c.await("DNS does not answer", c.Nodes[0].Name+"-kubelet", func() error {
		_, err := c.Try("kubectl", "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=1s")
		return err
	})
}

// Command returns a command that runs as an administrator of the cluster: kubectl and
// helm are in its path.
func (c *Cluster) Command(name string, args ...string) *exec.Cmd {
	helm := ChartPart(c.tb, "helm")
	home := filepath.Join(c.dir, "helm") // without the user's repositories and plugins
	path := nodesFolder(c.tb) + ":" + filepath.Dir(helm) + ":" + os.Getenv("PATH")
	switch name {
	case "kubectl":
		name = c.program("kubectl")
	case "helm":
		name = helm
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "PATH="+path, "HELM_CONFIG_HOME="+home, "HELM_CACHE_HOME="+home, "HELM_DATA_HOME="+home, "HOME="+home)
	return cmd
}

// Try runs a command and returns its output, or its error.
func (c *Cluster) Try(name string, args ...string) (string, error) {
	cmd := c.Command(name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return out.String(), nil
}

// Apply applies documents.
func (c *Cluster) Apply(documents string) {
	c.tb.Helper()
	cmd := c.Command("kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = strings.NewReader(documents)
	if said, err := cmd.CombinedOutput(); err != nil {
		c.tb.Fatalf("kubectl apply: %v: %s", err, said)
	}
}
