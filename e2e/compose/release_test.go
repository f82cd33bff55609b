//go:build compose

package compose

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestRelease_ImageMatchesTheDockerfile: an engine can load the image that `make release`
// packs without one. It is configured like the image of the Dockerfile, and serves
// unprivileged, without network, on a read-only root.
func TestRelease_ImageMatchesTheDockerfile(t *testing.T) {
	s := &stack{t: t, docker: first(os.Getenv("DOCKER"), "docker")}
	folder := filepath.Join(t.TempDir(), "release")
	release := exec.Command("go", "run", "./scripts/release", "-draft", "-o", folder)
	release.Dir = "../.."
	if said, err := release.CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, said)
	}
	tarballs, err := filepath.Glob(filepath.Join(folder, "*_image_*.tar"))
	if err != nil || len(tarballs) != 1 {
		t.Fatalf("%v, %v", tarballs, err)
	}
	said := s.engine("load", "-i", tarballs[0])
	image, ok := strings.CutPrefix(said, "Loaded image: ")
	if !ok {
		t.Fatal(said)
	}
	t.Cleanup(func() { s.engine("rmi", image) })

	released, made := s.image(image), s.image(first(os.Getenv("EXTAUTHZ_IMAGE"), "extauthz:local"))
	for _, label := range []string{"version", "revision"} {
		label = "org.opencontainers.image." + label
		if released.Config.Labels[label] == "" {
			t.Errorf("no label %s", label)
		}
		delete(released.Config.Labels, label)
		delete(made.Config.Labels, label)
	}
	if !reflect.DeepEqual(released.Config, made.Config) {
		t.Errorf("released is\n%+v\nmade of the Dockerfile\n%+v", released.Config, made.Config)
	}
	if t.Logf("%.1f MB", float64(released.Size)/1e6); released.Size >= 43_000_000 {
		t.Errorf("%d bytes", released.Size)
	}

	if printed := s.engine("run", "--rm", "--network", "none", image, "version"); !strings.Contains(printed, strings.TrimPrefix(image, "extauthz:")) {
		t.Errorf("%s prints %q", image, printed)
	}
	id := s.engine("run", "-d", "--network", "none", "--read-only", "--cap-drop", "ALL", image)
	t.Cleanup(func() { s.engine("rm", "-fv", id) })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if s.engine("inspect", "-f", "{{.State.Health.Status}}", id) == "healthy" {
			break
		}
		if time.Now().After(deadline) || s.engine("inspect", "-f", "{{.State.Running}}", id) != "true" {
			t.Fatalf("not healthy: %s", s.logs(container{ID: id, Name: image}))
		}
	}
	if printed := s.engine("exec", id, "/usr/bin/extauthz", "healthcheck"); printed != "serving" {
		t.Errorf("healthcheck prints %q", printed)
	}
}

// imageFacts is what the engine reports of an image.
type imageFacts struct {
	Size   int64
	Config struct {
		User, WorkingDir, StopSignal string
		Env, Entrypoint, Cmd         []string
		ExposedPorts, Volumes        map[string]struct{}
		Labels                       map[string]string
		Healthcheck                  struct {
			Test              []string
			Interval, Timeout time.Duration
			StartPeriod       time.Duration
			Retries           int
		}
	}
}

func (s *stack) image(name string) imageFacts {
	s.t.Helper()
	var images []imageFacts
	if err := json.Unmarshal([]byte(s.engine("image", "inspect", name)), &images); err != nil {
		s.t.Fatal(err)
	}
	return images[0]
}
