// Command imagepack makes images without a container engine. It implements the part of
// `docker` that scripts/stand-ins.sh needs: `DOCKER=imagepack IMAGES=FOLDER
// scripts/stand-ins.sh redis` leaves an archive in FOLDER that `docker load` and `ctr
// images import` read.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

func main() {
	if err := run(os.Getenv("IMAGES"), os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "imagepack:", err)
		os.Exit(1)
	}
}

func run(folder string, args []string, layer io.Reader) error {
	switch {
	case folder == "":
		return errors.New("no folder for the images: name one in IMAGES")
	case len(args) == 3 && args[0] == "image" && args[1] == "inspect":
		_, err := os.Stat(archiveOf(folder, args[2]))
		return err
	case len(args) > 0 && args[0] == "pull":
		return errors.New("there is no engine to pull with: images are made here")
	case len(args) > 1 && args[0] == "import":
		return pack(folder, args[1:], layer)
	}
	return fmt.Errorf("%q: write image inspect NAME, or import [--change LINE]… - NAME", args)
}

// archiveOf returns the path of an image's archive.
func archiveOf(folder, name string) string {
	return filepath.Join(folder, regexp.MustCompile(`[^A-Za-z0-9._-]`).ReplaceAllString(name, "_")+".tar")
}

// settings are the fields of an image's configuration that changes can set.
type settings struct {
	Env        []string
	Labels     map[string]string
	Volumes    map[string]struct{}
	Entrypoint []string `json:",omitempty"`
	Cmd        []string `json:",omitempty"`
	WorkingDir string   `json:",omitempty"`
	User       string   `json:",omitempty"`
	StopSignal string   `json:",omitempty"`
}

// change applies one line of a Dockerfile, as `docker import --change` does.
func (s *settings) change(line string) error {
	word, value, _ := strings.Cut(line, " ")
	switch word {
	case "ENV":
		name, _, _ := strings.Cut(value, "=")
		kept := s.Env[:0]
		for _, e := range s.Env {
			if !strings.HasPrefix(e, name+"=") {
				kept = append(kept, e)
			}
		}
		s.Env = append(kept, value)
	case "LABEL":
		name, text, _ := strings.Cut(value, "=")
		s.Labels[name] = text
	case "VOLUME":
		s.Volumes[value] = struct{}{}
	case "ENTRYPOINT":
		return json.Unmarshal([]byte(value), &s.Entrypoint)
	case "CMD":
		return json.Unmarshal([]byte(value), &s.Cmd)
	case "WORKDIR":
		s.WorkingDir = value
	case "USER":
		s.User = value
	case "STOPSIGNAL":
		s.StopSignal = value
	default:
		return fmt.Errorf("--change %q: this word is not known here", line)
	}
	return nil
}

// pack writes the archive of an image that has one layer.
func pack(folder string, args []string, layer io.Reader) error {
	s := settings{Labels: map[string]string{}, Volumes: map[string]struct{}{}}
	var names []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--change" && i+1 < len(args):
			i++
			if err := s.change(args[i]); err != nil {
				return err
			}
		case args[i] != "-q" && args[i] != "-":
			names = append(names, args[i])
		}
	}
	if len(names) != 1 {
		return fmt.Errorf("names %q: write one", names)
	}
	name := names[0]
	if !strings.Contains(name, ":") {
		name += ":latest"
	}
	kept, err := os.CreateTemp(folder, ".layer-")
	if err != nil {
		return err
	}
	defer func() { _ = kept.Close(); _ = os.Remove(kept.Name()) }()
	sum := sha256.New()
	size, err := io.Copy(io.MultiWriter(kept, sum), layer)
	if err != nil {
		return err
	}
	if _, err := kept.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return write(archiveOf(folder, name), name, s, fmt.Sprintf("%x", sum.Sum(nil)), kept, size)
}

// write writes an archive next to its final path, and renames it when it is complete.
func write(path, name string, s settings, digest string, layer io.Reader, size int64) error {
	config, err := json.Marshal(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "config": s,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}}})
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%x", sha256.Sum256(config))
	manifest, err := json.Marshal([]any{map[string]any{"Config": id + ".json", "RepoTags": []string{name}, "Layers": []string{digest + "/layer.tar"}}})
	if err != nil {
		return err
	}
	out, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	for _, member := range []struct {
		name string
		size int64
		from io.Reader
	}{{id + ".json", int64(len(config)), bytes.NewReader(config)}, {digest + "/layer.tar", size, layer}, {"manifest.json", int64(len(manifest)), bytes.NewReader(manifest)}} {
		err = archive.WriteHeader(&tar.Header{Name: member.name, Mode: 0o644, Size: member.size})
		if err == nil {
			_, err = io.Copy(archive, member.from)
		}
		if err != nil {
			break
		}
	}
	if err := errors.Join(err, archive.Close(), out.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
