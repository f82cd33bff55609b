package certificates

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// State says whether certificates can be trusted now, and whether they end soon.
type State int

// The states.
const (
	Valid   State = iota
	Ending        // valid, but overdue for renewal
	Invalid       // ended, or not yet begun
)

// maxNotice is the longest time for which a certificate is Ending before its end.
const maxNotice = 14 * 24 * time.Hour

// noticeShare: a certificate is Ending in the last sixth of its lifetime. Renewal is due
// in the last third, by default of cert-manager and ACME clients. A certificate that
// reaches the last sixth was therefore not renewed in time, and half of the time for
// renewal is left.
const noticeShare = 6

// Judge returns the state of a chain at now, and a text about why it is not Valid. A
// chain needs every one of its certificates, so the worst state counts.
func Judge(now time.Time, chain []*x509.Certificate) (worst State, text string) {
	for _, c := range chain {
		if state, why := judgeOne(now, c); state > worst {
			worst, text = state, why
		}
	}
	return worst, text
}

// JudgeAny returns the state of a set of authorities, any of which may be the one that is
// needed. If one is Valid, the set is: the others may be left over from a rotation.
func JudgeAny(now time.Time, authorities []*x509.Certificate) (best State, text string) {
	best = Invalid
	for _, c := range authorities {
		state, why := judgeOne(now, c)
		if state == Valid {
			return Valid, ""
		}
		if state < best || text == "" {
			best, text = state, why
		}
	}
	return best, text
}

func judgeOne(now time.Time, c *x509.Certificate) (State, string) {
	name := c.Subject.String()
	if name == "" && len(c.DNSNames) > 0 {
		name = c.DNSNames[0]
	}
	left := c.NotAfter.Sub(now)
	switch {
	case now.Before(c.NotBefore):
		return Invalid, fmt.Sprintf("the certificate of %q is valid only from %s, in %s", name, stamp(c.NotBefore), rough(c.NotBefore.Sub(now)))
	case left <= 0:
		return Invalid, fmt.Sprintf("the certificate of %q ended at %s, %s ago", name, stamp(c.NotAfter), rough(-left))
	case left < min(c.NotAfter.Sub(c.NotBefore)/noticeShare, maxNotice):
		return Ending, fmt.Sprintf("the certificate of %q ends at %s", name, stamp(c.NotAfter))
	}
	return Valid, ""
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// rough writes a duration for people.
func rough(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return d.Round(time.Second).String()
}

// Pool returns the authorities of a PEM file. An error names the file.
func Pool(path string) (*x509.CertPool, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var failed *os.PathError
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("%s can't be read: %w", path, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

// Read returns all certificates of a PEM file.
func Read(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(text)
}

// Parse returns all certificates of a PEM text. Other blocks, and certificates that can't
// be parsed, are skipped as by [x509.CertPool.AppendCertsFromPEM].
func Parse(text []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, errors.New("no PEM certificate")
	}
	return all, nil
}
