package main

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a member of an archive: a folder, or a file with a given text or the contents
// of another file.
type file struct {
	name  string // in the archive; the name of a folder ends with "/"
	from  string // path of the file with the contents; "": text has them
	text  []byte
	mode  fs.FileMode
	owner int // id of the user and of the group
}

// writeTar writes the files in the order of their names, all with the same time.
func writeTar(w io.Writer, files []file, at time.Time) error {
	t := tar.NewWriter(w)
	for _, f := range slices.SortedFunc(slices.Values(files), func(a, b file) int { return cmp.Compare(a.name, b.name) }) {
		if err := add(t, f, at); err != nil {
			return err
		}
	}
	return t.Close()
}

func add(t *tar.Writer, f file, at time.Time) error {
	h := &tar.Header{Name: f.name, Mode: int64(f.mode.Perm()), Uid: f.owner, Gid: f.owner, ModTime: at, Format: tar.FormatPAX, Typeflag: tar.TypeReg, Size: int64(len(f.text))}
	if strings.HasSuffix(f.name, "/") {
		h.Typeflag = tar.TypeDir
	}
	if f.from == "" {
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		_, err := t.Write(f.text)
		return err
	}
	in, err := os.Open(f.from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	about, err := in.Stat()
	if err != nil {
		return err
	}
	h.Size = about.Size()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, in)
	return err
}

// zipped compresses the bytes that write writes. Its header has neither a time nor a
// name.
func zipped(w io.Writer, write func(io.Writer) error) error {
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if err := write(z); err != nil {
		return err
	}
	return z.Close()
}

// pack makes an archive called name of the files, each below prefix.
func (b *builder) pack(name, prefix string, files []file) error {
	below := slices.Clone(files)
	for i := range below {
		below[i].name = prefix + below[i].name
	}
	out, err := os.Create(filepath.Join(b.out, name))
	if err != nil {
		return err
	}
	err = zipped(out, func(w io.Writer) error { return writeTar(w, below, b.time) })
	return cmp.Or(err, out.Close())
}

// tree lists everything below folder, with its modes, as files of the owner.
func tree(folder, prefix string, owner int) (files []file, err error) {
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		about, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		f := file{name: prefix + filepath.ToSlash(name), from: path, mode: about.Mode(), owner: owner}
		if entry.IsDir() {
			f.name, f.from = f.name+"/", ""
		}
		files = append(files, f)
		return nil
	})
	return files, err
}
