package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"extauthz/cmd/extauthz/internal/conditions"
)

// Replicas says how to examine the replicas of a service over the network.
type Replicas struct {
	// Ops holds URLs of ops listeners, http://HOST:PORT. Each address of HOST is a
	// replica.
	Ops []string
	// GRPC holds listeners for checks, HOST:PORT. Each address of HOST gets the probes.
	GRPC []string
	TLS  *tls.Config // for GRPC; nil: plain text
	// Digest is the SHA-256, in hexadecimal, of the configuration file that each replica
	// must have read; "": any file.
	Digest string
	// Wait is how long replicas may take to read that file, to start and to end.
	// Kubernetes passes on a changed ConfigMap within a minute or two.
	Wait   time.Duration
	Probes []Probe
}

// Times of an examination over the network.
const (
	pollInterval  = time.Second     // between two examinations while replicas are not settled
	answerTimeout = 3 * time.Second // for one answer
)

// notInEffect lists conditions under which a replica goes on with its earlier
// configuration or certificate, so that the changes of an upgrade are not in effect
// there.
var notInEffect = []conditions.Name{conditions.ConfigRefused, conditions.CertificateRefused}

// ExamineReplicas examines the replicas again and again until all are settled: they serve
// and have read the expected configuration. After c.Wait it reports their state as it is
// then.
func ExamineReplicas(ctx context.Context, c Replicas) []Result {
	limited, cancel := context.WithTimeout(ctx, max(c.Wait, time.Nanosecond))
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		a := &examination{Replicas: c}
		a.ops(ctx)
		if !a.pending || limited.Err() != nil { // before that, decisions would show nothing
			a.grpc(ctx)
		}
		if !a.pending || limited.Err() != nil {
			return a.results
		}
		select {
		case <-limited.Done():
		case <-tick.C:
		}
	}
}

// examination is one examination of all replicas.
type examination struct {
	Replicas
	report
	pending bool // whether a failure may end by itself
}

// unsettled reports a failure that may end by itself.
func (a *examination) unsettled(name, remedy, format string, args ...any) {
	a.pending = true
	a.add(name, Failed, remedy, format, args...)
}

// addresses resolves the host in HOST:PORT, and reports a failure to do so.
func (a *examination) addresses(ctx context.Context, target string) (addresses []string) {
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		a.add(target, Failed, "write HOST:PORT", "it is no address")
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(limited, "ip", host)
	if err != nil || len(found) == 0 {
		a.unsettled(target, "wait until a replica is ready: kubectl get pods names those that are not", "no replica has this name in the DNS: %v", err)
		return nil
	}
	for _, ip := range found {
		addresses = append(addresses, net.JoinHostPort(ip.Unmap().String(), port))
	}
	slices.Sort(addresses)
	return slices.Compact(addresses)
}

// ops queries each replica for its state, conditions and configuration.
func (a *examination) ops(ctx context.Context) {
	for _, target := range a.Ops {
		u, err := url.Parse(target)
		if err != nil || u.Host == "" {
			a.add(target, Failed, "write http://HOST:PORT", "it is not a URL")
			continue
		}
		for _, address := range a.addresses(ctx, u.Host) {
			name := "replica " + address
			ready, err := queryReady(ctx, u.Scheme, address)
			if err != nil {
				a.unsettled(name, "see its log: kubectl logs; a NetworkPolicy may refuse the connection too", "/readyz is not answered: %v", err)
				continue
			}
			a.replica(name, ready)
		}
	}
}

// replica reports the state and the conditions of one replica.
func (a *examination) replica(name string, ready Ready) {
	switch {
	case a.Digest == "":
	case ready.Config.Digest == "":
		a.add(name, Warning, "move secrets out of the configuration file, and run this by the release of the replicas", "it does not report which configuration it has read")
	case ready.Config.Digest != a.Digest:
		a.unsettled(name, "wait for the rollout, and see the replica's log; kubectl rollout restart has it read the configuration at once", "it has not read the configuration of this release")
		return
	}
	text := "it is " + ready.State
	switch ready.State {
	case "serving":
		a.add(name, OK, "", "%s", text)
	case "not_ready":
		a.add(name, Failed, "see the conditions below, and its log", "%s", text)
	default:
		a.unsettled(name, "wait; the conditions below say for what", "%s", text)
	}
	for _, c := range ready.Conditions {
		state := conditionState(c)
		if slices.Contains(notInEffect, c.Name) {
			state = Failed
		}
		a.add(conditionName(name, c), state, c.Remedy, "%s, since %s", c.Text, c.Since.Format(time.RFC3339))
	}
}

// queryReady queries one replica. With https it does not verify the replica's
// certificate, which is for names, not for addresses of pods. The query sends no secret.
func queryReady(ctx context.Context, scheme, address string) (Ready, error) {
	ready, err := ReadReady(ctx, scheme+"://"+address, &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}) // #nosec G402 -- see above
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the result's name already contains the address
	}
	return ready, err
}

// grpc sends every probe to each listener.
func (a *examination) grpc(ctx context.Context) {
	for _, target := range a.GRPC {
		for _, address := range a.addresses(ctx, target) {
			name := "checks at " + target
			if address != target {
				name += " (" + address + ")"
			}
			a.checks(ctx, name, address)
		}
	}
}

// checks reports the answers of one listener: one line for all correct ones together, and
// one for each other answer.
func (a *examination) checks(ctx context.Context, name, address string) {
	client, closing, err := dialChecks(address, a.TLS)
	if err != nil {
		a.add(name, Failed, "write HOST:PORT", "%v", err)
		return
	}
	defer closing()
	var right []string
	for _, q := range a.Probes {
		limited, cancel := context.WithTimeout(ctx, answerTimeout)
		got, err := client.check(limited, q.Request)
		cancel()
		if err != nil {
			a.unsettled(name, a.unanswered(), "%s: no answer: %v", q.Name, err)
			return
		}
		state, text, remedy := q.Judge(got)
		if state == OK {
			right = append(right, q.Name+": "+text)
			continue
		}
		a.add(name, state, remedy, "%s: %s", q.Name, text)
	}
	if len(right) > 0 {
		a.add(name, OK, "", "%s", strings.Join(right, "; "))
	}
}
