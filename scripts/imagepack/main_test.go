package main

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

func TestImagepack_WritesWhatAnEngineLoads(t *testing.T) {
	folder := t.TempDir()
	args := []string{"import", "-q", "--change", "ENV PATH=/bin", "--change", "ENV PATH=/usr/bin:/bin", "--change", `ENTRYPOINT ["run","x"]`, "--change", "STOPSIGNAL SIGINT", "-", "shop/run:1.0"}
	if err := run(folder, []string{"image", "inspect", "shop/run:1.0"}, nil); err == nil {
		t.Error("an image was found before it was made")
	}
	if err := run(folder, args, strings.NewReader("a layer")); err != nil {
		t.Fatal(err)
	}
	if err := run(folder, []string{"image", "inspect", "shop/run:1.0"}, nil); err != nil {
		t.Error(err)
	}
	f, err := os.Open(archiveOf(folder, "shop/run:1.0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all strings.Builder
	for archive := tar.NewReader(f); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(header.Name + " " + string(text) + "\n")
	}
	for _, want := range []string{`"Env":["PATH=/usr/bin:/bin"]`, `"Entrypoint":["run","x"]`, `"StopSignal":"SIGINT"`, "/layer.tar a layer\n", `"RepoTags":["shop/run:1.0"]`} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%s is missing in %s", want, all.String())
		}
	}
}

func TestImagepack_RefusesWhatItDoesNotKnow(t *testing.T) {
	folder := t.TempDir()
	for _, args := range [][]string{{"run", "x"}, {"pull", "x"}, {"import", "-"}, {"import", "--change", "ARG x", "-", "x"}, {"import", "-", "x", "y"}} {
		if err := run(folder, args, strings.NewReader("")); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("files were left: %v", left)
	}
}
