package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"extauthz/authz"
	"extauthz/cmd/extauthz/internal/certificates"
	"extauthz/cmd/extauthz/internal/config"
	"extauthz/cmd/extauthz/internal/doctor"
)

// replicasFlags holds the flags of `doctor replicas`.
type replicasFlags struct {
	ops, grpc                              []string
	digest, authorities, name, certificate string
	certificateKey, keyFile, request       string
	wait                                   time.Duration
}

func doctorReplicasCommand(g *globals) *cobra.Command {
	var f replicasFlags
	c := &cobra.Command{
		Use: "replicas", Short: "Ask every replica over the network for its state and for decisions", Args: noArguments,
		Long: "Check every replica over the network: the state and conditions of each address of the hosts of --ops, and the decisions of each address of --grpc. " +
			"A key that does not exist must be denied as unknown_key, a request without one as missing_key. " +
			"Keys and credentials are those of the configuration; its secrets are not needed. " +
			"Exits with status 1 if something has failed; warnings do not count, but for a refused configuration or certificate. `helm test` runs this.",
		Example: "  extauthz doctor replicas --ops http://extauthz-ops:9090 --grpc extauthz-headless:9001\n" +
			"  extauthz doctor replicas --grpc 10.0.0.5:9001 --tls-ca ca.crt --tls-name extauthz.extauthz.svc --tls-cert tls.crt --tls-key tls.key\n" +
			"  extauthz doctor replicas --grpc extauthz:9001 --key-file api.key --request 'GET https://api.example.com/orders/42'",
		RunE: func(c *cobra.Command, _ []string) error {
			examined, faults, err := f.replicas(g)
			if err != nil {
				return err
			}
			results := append(faults, doctor.ExamineReplicas(c.Context(), examined)...)
			if err := g.show(c, results, func(w *tabwriter.Writer) { printResults(w, results) }); err != nil {
				return err
			}
			if n := doctor.Failures(results); n > 0 {
				return fmt.Errorf("%d of %d have failed: see above", n, len(results))
			}
			return nil
		},
	}
	set := c.Flags()
	set.StringArrayVar(&f.ops, "ops", nil, "ops listener, http://HOST:PORT; each address of HOST is a replica; several allowed")
	set.StringArrayVar(&f.grpc, "grpc", nil, "listener for checks, HOST:PORT, likewise; several allowed")
	set.StringVar(&f.digest, "config-digest", "", "SHA-256 of the configuration file that each replica must have loaded")
	set.DurationVar(&f.wait, "wait", 0, "time for replicas to load it, to start and to end")
	set.StringVar(&f.authorities, "tls-ca", "", "where grpc.tls is on: file with the authorities of its certificate, or with the certificate itself")
	set.StringVar(&f.name, "tls-name", "", "DNS name in that certificate; without it any is taken")
	set.StringVar(&f.certificate, "tls-cert", "", "file with a client certificate")
	set.StringVar(&f.certificateKey, "tls-key", "", "file with that certificate's key")
	set.StringVar(&f.keyFile, "key-file", "", "file with a key that exists, to check that --request is allowed")
	set.StringVar(&f.request, "request", "", "'METHOD URL' that this key may send")
	return c
}

// needed lists the settings that the probes are made from.
var needed = []string{"keys.brand", "keys.environments", "credentials"}

// replicas makes the examination from the flags. If the configuration can't be read, the
// ops listeners are queried all the same, because the replicas have refused that
// configuration too. No checks are sent then: the probes could not be made.
func (f replicasFlags) replicas(g *globals) (r doctor.Replicas, faults []doctor.Result, err error) {
	switch {
	case len(f.ops)+len(f.grpc) == 0:
		return r, nil, usageError{errors.New("nothing to ask: name --ops or --grpc")}
	case (f.keyFile == "") != (f.request == ""):
		return r, nil, usageError{errors.New("--key-file and --request go together: name both")}
	}
	r = doctor.Replicas{Ops: f.ops, GRPC: f.grpc, Digest: f.digest, Wait: f.wait}
	if r.TLS, err = f.tls(); err != nil {
		return r, nil, err
	}
	settings, err := g.load(needed...)
	if err != nil {
		r.GRPC = nil
		return r, configurationFaults(err), nil
	}
	if r.Probes, err = doctor.Probes(settings); err != nil {
		return r, nil, err
	}
	if f.keyFile != "" {
		q, err := f.keyProbe(settings)
		if err != nil {
			return r, nil, err
		}
		r.Probes = append(r.Probes, q)
	}
	return r, nil, nil
}

func (f replicasFlags) keyProbe(settings *config.Config) (doctor.Probe, error) {
	text, err := os.ReadFile(f.keyFile)
	if err != nil {
		return doctor.Probe{}, fmt.Errorf("--key-file can't be read: %w", err)
	}
	method, target, _ := strings.Cut(f.request, " ")
	return doctor.KeyProbe(settings, authz.NewSecret(strings.TrimSpace(string(text))), method, target)
}

// tls returns the TLS configuration for checks; nil stands for plain text.
func (f replicasFlags) tls() (*tls.Config, error) {
	switch {
	case (f.certificate == "") != (f.certificateKey == ""):
		return nil, usageError{errors.New("--tls-cert and --tls-key go together: name both")}
	case f.authorities == "" && f.name+f.certificate != "":
		return nil, usageError{errors.New("--tls-name or --tls-cert without --tls-ca: name the authorities of the service's certificate")}
	case f.authorities == "":
		return nil, nil
	}
	roots, err := certificates.Pool(f.authorities)
	if err != nil {
		return nil, fmt.Errorf("--tls-ca: %w", err)
	}
	secure := &tls.Config{RootCAs: roots, ServerName: f.name, MinVersion: tls.VersionTLS12}
	if f.certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.certificate, f.certificateKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	}
	if f.name == "" { // accept any name in a certificate that these authorities signed
		secure.InsecureSkipVerify = true // #nosec G402 -- verified here
		secure.VerifyConnection = func(s tls.ConnectionState) error {
			intermediates := x509.NewCertPool()
			for _, c := range s.PeerCertificates[1:] {
				intermediates.AddCert(c)
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
			return err
		}
	}
	return secure, nil
}
