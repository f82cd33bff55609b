package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// owner is the id of the image's user and group, which own the data folder.
const owner = 65532

// dataFolder is the volume of the image.
const dataFolder = "/var/lib/extauthz"

// imageConfig returns the image's configuration, which the Dockerfile defines too: make
// e2e-compose compares the two.
func (b *builder) imageConfig() map[string]any {
	nothing := struct{}{}
	return map[string]any{
		"User":         fmt.Sprintf("%d:%d", owner, owner),
		"Env":          []string{"PATH=/usr/bin", "EXTAUTHZ_CONFIG=/etc/extauthz/extauthz.yaml"},
		"ExposedPorts": map[string]any{"9001/tcp": nothing, "9002/tcp": nothing, "9090/tcp": nothing},
		"Entrypoint":   []string{"/usr/bin/extauthz"},
		"Cmd":          []string{"serve"},
		"WorkingDir":   dataFolder,
		"Volumes":      map[string]any{dataFolder: nothing},
		"StopSignal":   "SIGTERM",
		"Healthcheck": map[string]any{
			"Test":     []string{"CMD", "/usr/bin/extauthz", "healthcheck"},
			"Interval": 5 * time.Second, "Timeout": 4 * time.Second, "StartPeriod": 30 * time.Second, "Retries": 3,
		},
		"Labels": map[string]string{
			"org.opencontainers.image.title":       "extauthz",
			"org.opencontainers.image.description": "External authorization for Envoy by API keys",
			"org.opencontainers.image.version":     b.version,
			"org.opencontainers.image.revision":    b.commit,
		},
	}
}

// blobs are the parts of an image, by their digests.
type blobs struct {
	files []file
}

func (s *blobs) add(mediaType string, content []byte) map[string]any {
	sum := fmt.Sprintf("%x", sha256.Sum256(content))
	s.files = append(s.files, file{name: "blobs/sha256/" + sum, text: content, mode: 0o644})
	return map[string]any{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(content)}
}

func (s *blobs) addJSON(mediaType string, v any) map[string]any {
	return s.add(mediaType, encoded(v))
}

func encoded(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps of texts and numbers can't fail
	}
	return text
}

// image packs the files that image-root.sh laid out below root. The result is an OCI
// layout that has the manifest of `docker save` too: `docker load`, `podman load` and
// `ctr images import` read it. Its SBOM is written next to it.
func (b *builder) image(arch, root string) error {
	files, err := tree(filepath.Join(root, "root"), "", 0)
	if err != nil {
		return err
	}
	data, err := tree(filepath.Join(root, "data"), "var/lib/", owner)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	unzipped := sha256.New()
	if err := zipped(&layer, func(w io.Writer) error {
		return writeTar(io.MultiWriter(w, unzipped), append(files, data...), b.time)
	}); err != nil {
		return err
	}

	var parts blobs
	created := b.time.Format(time.RFC3339)
	l := parts.add("application/vnd.oci.image.layer.v1.tar+gzip", layer.Bytes())
	config := parts.addJSON("application/vnd.oci.image.config.v1+json", map[string]any{
		"architecture": arch, "os": "linux", "created": created, "config": b.imageConfig(),
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", unzipped.Sum(nil))}},
		"history": []any{map[string]any{"created": created, "created_by": "make release"}},
	})
	manifest := parts.addJSON("application/vnd.oci.image.manifest.v1+json", map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{l},
	})
	tag := "extauthz:" + b.version
	manifest["platform"] = map[string]any{"architecture": arch, "os": "linux"}
	manifest["annotations"] = map[string]any{"io.containerd.image.name": "docker.io/library/" + tag, "org.opencontainers.image.ref.name": b.version}
	at := func(descriptor map[string]any) string {
		return "blobs/sha256/" + descriptor["digest"].(string)[len("sha256:"):]
	}
	members := append(parts.files,
		file{name: "blobs/", mode: 0o755}, file{name: "blobs/sha256/", mode: 0o755},
		file{name: "oci-layout", mode: 0o644, text: encoded(map[string]any{"imageLayoutVersion": "1.0.0"})},
		file{name: "index.json", mode: 0o644, text: encoded(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []any{manifest}})},
		file{name: "manifest.json", mode: 0o644, text: encoded([]any{map[string]any{
			"Config": at(config), "RepoTags": []string{tag}, "Layers": []string{at(l)}}})})

	name := fmt.Sprintf("extauthz_%s_image_linux_%s", b.version, arch)
	out, err := os.Create(filepath.Join(b.out, name+".tar"))
	if err != nil {
		return err
	}
	if err := writeTar(out, members, b.time); err != nil {
		_ = out.Close()
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return b.bill(name+".cdx.json", filepath.Join(root, "root/usr/bin/extauthz"), &imageFacts{
		digest: manifest["digest"].(string), roots: filepath.Join(root, "root/etc/ssl/certs/ca-certificates.crt")})
}
