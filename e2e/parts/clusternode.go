package parts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

// controlGroups is the mount point of control groups: version 1 has a folder for each
// controller.
const controlGroups = "/sys/fs/cgroup"

// Node is a node of a Cluster: a kubelet with containerd, a kube-proxy, and a program
// that enforces NetworkPolicies.
type Node struct {
	Name    string
	Address string

	c      *Cluster
	number int
	init   *exec.Cmd // its first process; all others end with it
	dir    string
}

// newNode makes a node's networks, mounts and processes.
func (c *Cluster) newNode(number int) *Node {
	c.tb.Helper()
	n := &Node{Name: fmt.Sprintf("n%d", number), Address: fmt.Sprintf("10.99.0.%d", 10+number), c: c, number: number}
	n.dir = filepath.Join(c.dir, n.Name)
	if err := os.MkdirAll(filepath.Join(n.dir, "cni"), 0o700); err != nil {
		c.tb.Fatal(err)
	}
	n.init = exec.Command(c.program("pause"))
	n.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	if err := n.init.Start(); err != nil {
		c.tb.Fatal(err)
	}
	pid := fmt.Sprint(n.init.Process.Pid)
	ip(c.tb, "link", "add", "eth0", "netns", pid, "type", "veth", "peer", "name", n.link())
	ip(c.tb, "link", "set", n.link(), "master", "br0", "up")
	ip(c.tb, "route", "add", n.pods(), "via", n.Address, "dev", "br0", "onlink")
	// A kubelet changes some settings of the whole machine: here it changes files
	// instead.
	script := fmt.Sprintf(`hostname %[1]s
mount -t proc proc /proc
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  mkdir -p /run/settings/$setting
  cat /proc/sys/$setting >/run/settings/$setting/value
  mount --bind /run/settings/$setting/value /proc/sys/$setting
done
mount --make-rshared /
mkdir -p /run/containerd /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers
ip link set lo up
ip address add %[2]s/24 dev eth0
ip link set eth0 up
ip route add default via %[3]s
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
`, n.Name, n.Address, ClusterAddress)
	if said, err := n.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		c.tb.Fatalf("%s: %v: %s", n.Name, err, said)
	}
	n.makeControlGroups()
	return n
}

// link is the node's cable, in the control plane's network.
func (n *Node) link() string { return "cable-" + n.Name }

// pods is the address range of the node's pods.
func (n *Node) pods() string { return fmt.Sprintf("10.244.%d.0/24", n.number) }

// group is the node's control group.
func (n *Node) group() string { return os.Getenv(cgroupsVariable) + "-" + n.Name }

// Command is a command that runs in the node.
func (n *Node) Command(name string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", fmt.Sprint(n.init.Process.Pid), "-m", "-n", "-p", "-u", "-i", "--", name}, args...)...)
}

// run starts a program in the node.
func (n *Node) run(name, program string, args ...string) {
	n.c.tb.Helper()
	cmd := n.Command(program, args...)
	n.c.run(n.Name+"-"+name, cmd.Path, cmd.Args[1:]...)
}

// Disconnect cuts the node off: no packet arrives, and no sender gets an error.
func (n *Node) Disconnect() { ip(n.c.tb, "link", "set", n.link(), "down") }

// Connect undoes Disconnect.
func (n *Node) Connect() {
	ip(n.c.tb, "link", "set", n.link(), "up")
	// The routes were removed with the link.
	if said, err := exec.Command("ip", "route", "replace", n.pods(), "via", n.Address, "dev", "br0", "onlink").CombinedOutput(); err != nil {
		n.c.tb.Errorf("%s: %v: %s", n.Name, err, said)
	}
}

// Processes returns the process numbers of the node's containers in which a program runs.
func (n *Node) Processes(program string) (found []int) {
	n.c.tb.Helper()
	said, err := n.Command("pidof", program).Output()
	if err != nil {
		return nil
	}
	for _, field := range strings.Fields(string(said)) {
		var pid int
		if _, err := fmt.Sscan(field, &pid); err == nil {
			found = append(found, pid)
		}
	}
	sort.Ints(found)
	return found
}

// Kill ends a process of the node as `kill -9` does.
func (n *Node) Kill(pid int) {
	n.c.tb.Helper()
	if said, err := n.Command("sh", "-c", fmt.Sprintf("kill -9 %d", pid)).CombinedOutput(); err != nil {
		n.c.tb.Fatalf("kill -9 %d: %v: %s", pid, err, said)
	}
}

// startNodes starts what runs on the nodes, and waits until all are ready.
func (c *Cluster) startNodes(images string) {
	c.tb.Helper()
	for _, n := range c.Nodes {
		for _, other := range c.Nodes {
			if other != n {
				if said, err := n.Command("ip", "route", "add", other.pods(), "via", other.Address).CombinedOutput(); err != nil {
					c.tb.Fatalf("%s: %v: %s", n.Name, err, said)
				}
			}
		}
		n.startContainerd()
	}
	c.Load(images)
	for _, n := range c.Nodes {
		n.startKubelet()
	}
	for _, n := range c.Nodes {
		c.await(n.Name+" is not ready", n.Name+"-kubelet", func() error {
			_, err := c.Try("kubectl", "wait", "--for=condition=Ready", "node/"+n.Name, "--timeout=1s")
			return err
		})
		n.run("netpol", c.program("netpol"), c.Kubeconfig, n.Name, serviceRange)
	}
}

// Load imports the images in a folder of archives on all nodes.
func (c *Cluster) Load(images string) {
	c.tb.Helper()
	archives, err := filepath.Glob(filepath.Join(images, "*.tar"))
	if err != nil || len(archives) == 0 {
		c.tb.Fatalf("no images in %s: run scripts/kube-images.sh (%v)", images, err)
	}
	done := make(chan error, len(c.Nodes))
	for _, n := range c.Nodes {
		go func() { done <- n.load(archives) }()
	}
	for range c.Nodes {
		if err := <-done; err != nil {
			c.tb.Fatal(err)
		}
	}
}

// load imports images.
func (n *Node) load(archives []string) error {
	for _, a := range archives {
		if said, err := n.Command("ctr", "-n", "k8s.io", "images", "import", a).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: import of %s: %w: %s", n.Name, filepath.Base(a), err, said)
		}
	}
	return nil
}

func (n *Node) startContainerd() {
	n.c.tb.Helper()
	write(n.c.tb, filepath.Join(n.dir, "cni/10-bridge.conflist"), fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "pods", "plugins": [
 {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "/var/lib/cni", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
`, n.pods()))
	write(n.c.tb, filepath.Join(n.dir, "containerd.toml"), fmt.Sprintf(`version = 2
root = "/var/lib/containerd" # in memory, as all of this node's state: a disk would be asked to sync each file
state = "/run/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:local"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd-opt"
`, n.dir))
	n.run("containerd", "containerd", "-c", filepath.Join(n.dir, "containerd.toml"))
	n.c.await("containerd of "+n.Name, n.Name+"-containerd", func() error {
		said, err := n.Command("ctr", "version").CombinedOutput()
		if err != nil {
			return errors.New(string(said))
		}
		return nil
	})
}

func (n *Node) startKubelet() {
	n.c.tb.Helper()
	write(n.c.tb, filepath.Join(n.dir, "resolv.conf"), "nameserver 127.0.0.1\n")
	write(n.c.tb, filepath.Join(n.dir, "kubelet.yaml"), fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %s
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %s}}
authorization: {mode: Webhook}
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /%s
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: %s
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
enforceNodeAllocatable: [pods]
syncFrequency: 10s # how long a changed ConfigMap or Secret may take; a minute elsewhere
maxPods: 60
`, n.Address, n.c.authority.CAFile, n.group(), filepath.Join(n.dir, "resolv.conf")))
	// Its limits would apply to the whole machine if it could set them.
	n.run("kube-proxy", n.c.program("kube-proxy"), "--kubeconfig", n.c.kubeconfig("proxy"), "--hostname-override", n.Name, "--proxy-mode", "iptables", "--cluster-cidr", podRange,
		"--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0", "--conntrack-tcp-timeout-close-wait", "0", "--healthz-bind-address", "0.0.0.0:10256")
	n.run("kubelet", n.c.program("kubelet"), "--config", filepath.Join(n.dir, "kubelet.yaml"), "--kubeconfig", n.c.kubeconfig(n.Name), "--hostname-override", n.Name, "--node-ip", n.Address,
		"--root-dir", "/var/lib/kubelet", "--node-labels", "topology.kubernetes.io/zone="+n.Name)
}

// makeControlGroups makes the node's group; the kubelet makes those of pods below it.
func (n *Node) makeControlGroups() {
	n.c.tb.Helper()
	hierarchies, _ := filepath.Glob(controlGroups + "/*/cgroup.procs")
	if _, err := os.Stat(controlGroups + "/cgroup.controllers"); err == nil { // version 2
		hierarchies = []string{controlGroups + "/cgroup.procs"}
	}
	if len(hierarchies) == 0 {
		Missing(n.c.tb, errors.New("no control groups in "+controlGroups))
	}
	for _, h := range hierarchies {
		above := filepath.Dir(h)
		group := filepath.Join(above, n.group())
		if err := os.Mkdir(group, 0o755); err != nil {
			n.c.tb.Fatal(err)
		}
		for _, name := range []string{"cpuset.cpus", "cpuset.mems"} { // in version 1 they are empty at first
			if value, err := os.ReadFile(filepath.Join(above, name)); err == nil {
				if err := os.WriteFile(filepath.Join(group, name), value, 0o644); err != nil {
					n.c.tb.Fatal(err)
				}
			}
		}
	}
}

// removeControlGroups removes the groups of a cluster that has ended, or of all such
// clusters. The kernel refuses to remove a group in which a process runs.
func removeControlGroups(prefix string) {
	if prefix == "" {
		prefix = cgroupsPrefix
	}
	for _, pattern := range []string{controlGroups + "/" + prefix + "*", controlGroups + "/*/" + prefix + "*"} {
		groups, _ := filepath.Glob(pattern)
		for _, group := range groups {
			var below []string
			_ = filepath.WalkDir(group, func(path string, entry os.DirEntry, err error) error {
				if err == nil && entry.IsDir() {
					below = append(below, path)
				}
				return nil
			})
			for i := len(below) - 1; i >= 0; i-- {
				_ = syscall.Rmdir(below[i])
			}
		}
	}
}
