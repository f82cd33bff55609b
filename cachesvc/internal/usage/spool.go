package usage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"extauthz/authz"
)

const (
	spoolSuffix = ".usage"
	spoolSum    = 8 // hex digits of the checksum before each record
)

var spoolTable = crc32.MakeTable(crc32.Castagnoli)

// spool keeps batches of usage in files while the database does not take them. A file is
// only ever appended to: each line is a checksum and a batch. A file is removed when the
// database has all of it. A process locks the files that it has open, so that another
// process adopts only files of processes that are gone. Reading a file twice is harmless:
// the database adds a batch once. Safe for concurrent use, except that drain and adopt
// are for one goroutine at a time.
type spool struct {
	dir, source string
	limit       int64 // bytes in this process's files, at most
	log         *slog.Logger
	now         func() time.Time
	failPoint   func(step string)

	mu       sync.Mutex
	number   int
	file     *spoolFile   // the file that is appended to; nil: none
	draining []*spoolFile // the files that are being written to the database
	size     int64        // bytes in file and draining
	uses     atomic.Int64 // uses in file and draining
}

type spoolFile struct {
	*os.File
	size, uses int64
}

// prepare logs a warning at the start if no file can be written.
func (s *spool) prepare() {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.create()
	if err == nil {
		err = discard(f)
	}
	if err != nil {
		s.log.Warn("usage can't be kept in a file: while neither the database nor Redis takes it, it is in memory alone; make the folder writable, or set usage.spool_mib: 0 if that is meant",
			"folder", s.dir, "error", err)
	}
}

func discard(f *spoolFile) error { return errors.Join(os.Remove(f.Name()), f.Close()) }

func (s *spool) create() (*spoolFile, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	s.number++
	path := filepath.Join(s.dir, fmt.Sprintf("%s-%d%s", url.PathEscape(s.source), s.number, spoolSuffix))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if locked, err := tryLock(f); err != nil || !locked { // the name is new: no other process has the file
		_ = os.Remove(path)
		return nil, errors.Join(fmt.Errorf("%s can't be locked", path), err, f.Close())
	}
	return &spoolFile{File: f}, nil
}

// keep appends batches to the file. It returns how many of them, counted from the first
// one, are on the disk.
func (s *spool) keep(batches []*queuedBatch) (kept int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var data []byte
	var uses int64
	full := false
	for _, b := range batches {
		record, err := encodeBatch(b)
		if err != nil {
			return 0, err
		}
		if s.size+int64(len(data)+len(record)+spoolSum+2) > s.limit {
			full = true
			break
		}
		data = fmt.Appendf(data, "%08x %s\n", crc32.Checksum(record, spoolTable), record)
		uses += int64(b.Uses())
		kept++
	}
	if kept > 0 {
		if err := s.append(data, uses); err != nil {
			return 0, fmt.Errorf("keeping usage in a file: %w", err)
		}
	}
	if full {
		return kept, fmt.Errorf("the files in %s hold %d MiB of usage, which is the limit (usage.spool_mib)", s.dir, s.limit>>20)
	}
	return kept, nil
}

func (s *spool) append(data []byte, uses int64) (err error) {
	f := s.file
	if f == nil {
		if f, err = s.create(); err != nil {
			return err
		}
		s.file = f
	}
	s.failPoint("before a batch is in the file")
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if err == nil {
		f.size, f.uses, s.size = f.size+int64(len(data)), f.uses+uses, s.size+int64(len(data))
		s.uses.Add(uses)
		s.failPoint("after a batch is in the file")
		return nil
	}
	if f.Truncate(f.size) != nil { // a record that follows half a record could not be read
		s.draining, s.file = append(s.draining, f), nil
	}
	return err
}

// drain sends the batches in this process's files, and removes the files.
func (s *spool) drain(send func([]authz.UsageBatch) error) error {
	for {
		s.mu.Lock()
		if s.file != nil && len(s.draining) == 0 {
			s.draining, s.file = append(s.draining, s.file), nil
		}
		if len(s.draining) == 0 {
			s.mu.Unlock()
			return nil
		}
		f := s.draining[0]
		s.mu.Unlock()
		if err := s.send(f.File, f.size, send); err != nil {
			return err
		}
		if err := discard(f); err != nil {
			s.log.Warn("a file of usage that the database has can't be removed", "error", err)
		}
		s.mu.Lock()
		s.draining = s.draining[1:]
		s.size -= f.size
		s.uses.Add(-f.uses)
		s.mu.Unlock()
	}
}

// adopt sends the batches in files that processes have left which are gone, and removes
// these files. A file that can't be read is left for an operator. An error is that of
// send.
func (s *spool) adopt(send func([]authz.UsageBatch) error) error {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		s.log.Warn("files of usage can't be searched for", "folder", s.dir, "error", err)
		return nil
	}
	var failed error
	noting := func(some []authz.UsageBatch) error { failed = send(some); return failed }
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), spoolSuffix) || strings.HasPrefix(e.Name(), url.PathEscape(s.source)+"-") {
			continue
		}
		err := s.adoptFile(filepath.Join(s.dir, e.Name()), noting)
		if failed != nil {
			return failed
		}
		if err != nil {
			s.log.Warn("a file of usage can't be written to the database; it is tried again", "error", err)
		}
	}
	return nil
}

func (s *spool) adoptFile(path string, send func([]authz.UsageBatch) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // another process was quicker
	}
	if err != nil {
		return fmt.Errorf("reading a file of usage: %w", err)
	}
	defer func() { _ = f.Close() }()
	if locked, err := tryLock(f); err != nil || !locked {
		return err // nil if the file's process is alive
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("reading a file of usage: %w", err)
	}
	if err := s.send(f, info.Size(), send); err != nil {
		return err
	}
	s.failPoint("before a file is removed")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing a file of usage that the database has: %w", err)
	}
	s.log.Info("usage of a process that is gone, from a file, is in the database", "file", path)
	return nil
}

// send reads the first size bytes of a file. A record that can't be read, such as
// one that a crash cut off, is left out.
func (s *spool) send(f *os.File, size int64, send func([]authz.UsageBatch) error) error {
	lines := bufio.NewReader(io.NewSectionReader(f, 0, size))
	var batches []authz.UsageBatch
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading a file of usage: %w", err)
		}
		if len(line) > 0 {
			b, broken := s.decode(line)
			if broken == nil {
				batches = append(batches, b)
			} else {
				s.log.Warn("a batch of usage in a file can't be read and is dropped", "file", f.Name(), "error", broken)
			}
		}
		if len(batches) == writeBatches || err != nil && len(batches) > 0 {
			if err := send(batches); err != nil {
				return err
			}
			batches = slices.Delete(batches, 0, len(batches))
		}
		if err != nil {
			return nil
		}
	}
}

func (s *spool) decode(line []byte) (authz.UsageBatch, error) {
	sum, record, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	if !ok || fmt.Sprintf("%08x", crc32.Checksum(record, spoolTable)) != string(sum) {
		return authz.UsageBatch{}, errors.New("its checksum is wrong: the process was killed while it wrote it")
	}
	return decodeBatch(record, s.now())
}
