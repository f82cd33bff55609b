package server

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// watchEvery is the time between two checks of the files. A check is one stat for each
// file. It also sees changes that a watch on the files would miss: a replaced symbolic
// link above them (as Kubernetes updates ConfigMaps and Secrets), and a new file under
// the old name (as editors write).
const watchEvery = time.Second

// stampOf returns a text that changes when files change. It describes the file that each
// path leads to now.
func stampOf(paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s absent\n", path)
			continue
		}
		fmt.Fprintf(&b, "%s %d %d %d\n", path, info.ModTime().UnixNano(), info.Size(), inode(info))
	}
	return b.String()
}

// retryRefused is how often a configuration that was refused is tried again: files that it
// names, such as a certificate and its key, may have been written one after the other.
const retryRefused = 5 * time.Second

// watch reloads when the configuration's files have changed and were the same in two
// checks, until ctx ends. A refused configuration is tried again every retryRefused.
func (s *Server) watch(ctx context.Context) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	before := ""
	var tried time.Time // when the configuration was last loaded here
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, loaded := s.stamps()
		switch {
		case now != before:
		case now != loaded:
			s.log.Info("the configuration's files have changed")
			s.Reload()
			tried = time.Now()
		case time.Since(tried) >= retryRefused:
			s.reloadRefused()
			tried = time.Now()
		}
		before = now
	}
}

// stamps returns the stamp of the files now, and their stamp when they were last read.
func (s *Server) stamps() (now, loaded string) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	return stampOf(s.settings.Files()), s.loaded
}
