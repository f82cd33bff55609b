package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
)

// component is a component in CycloneDX's format.
type component struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	Hashes  []hash `json:"hashes,omitempty"`
	PURL    string `json:"purl,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"` // hexadecimal digits
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// imageFacts are the facts that an image's SBOM has in addition to its binary's.
type imageFacts struct {
	digest string // of the manifest
	roots  string // path of the roots of trust
}

// bill writes the SBOM of a binary, CycloneDX 1.6, from the build information that Go's
// linker put into it: each module with version and checksum, and the standard library. If
// image is given, it writes the SBOM of the image with this binary.
func (b *builder) bill(name, binary string, image *imageFacts) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	sum, err := sha256Of(binary)
	if err != nil {
		return err
	}
	subject := module("extauthz", "v"+b.version)
	subject.Type, subject.Hashes = "application", []hash{{"SHA-256", sum}}
	std := module("stdlib", "v"+strings.TrimPrefix(strings.Fields(info.GoVersion)[0], "go"))
	std.PURL = strings.Replace(std.PURL, "@v", "@", 1) // the form in which advisories name it
	std.Ref = std.PURL
	components := []component{std}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := module(m.Path, m.Version)
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) > 0 {
			c.Hashes = []hash{{"SHA-256", fmt.Sprintf("%x", sum)}} // of the module's files, as in go.sum
		}
		components = append(components, c)
	}
	needs := dependency{Ref: subject.Ref}
	for _, c := range components {
		needs.DependsOn = append(needs.DependsOn, c.Ref)
	}
	dependencies := []dependency{needs}
	if image != nil {
		sum, err := sha256Of(image.roots)
		if err != nil {
			return err
		}
		roots := component{Type: "file", Ref: "ca-certificates.crt", Name: "/etc/ssl/certs/ca-certificates.crt", Hashes: []hash{{"SHA-256", sum}}}
		components = append([]component{subject, roots}, components...)
		inside := dependency{Ref: image.digest, DependsOn: []string{subject.Ref, roots.Ref}}
		dependencies = append([]dependency{inside}, dependencies...)
		subject = component{Type: "container", Ref: image.digest, Name: "extauthz", Version: image.digest, Hashes: []hash{{"SHA-256", strings.TrimPrefix(image.digest, "sha256:")}}}
	}
	text, err := json.MarshalIndent(map[string]any{
		"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"serialNumber": "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte(name+" "+sum)).String(),
		"metadata": map[string]any{"timestamp": b.time.Format(time.RFC3339), "component": subject,
			"tools": map[string]any{"components": []any{map[string]any{"type": "application", "name": "extauthz/scripts/release", "version": b.version}}}},
		"components": components, "dependencies": dependencies,
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(b.out, name), append(text, '\n'), 0o644)
}

// module returns a Go module as a component.
func module(path, version string) component {
	purl := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl}
}
