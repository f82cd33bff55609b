package models

import (
	"database/sql"
	"os"
	"sync"
)

// file is the SQLite file that the connections have open. Its path may later lead to
// another file, or to none, while the connections still use the unlinked file.
type file struct {
	mu         sync.Mutex
	path       string
	info       os.FileInfo   // nil: not known
	companions []os.FileInfo // the journal and the index that belong to info
	dropping   bool          // connections into the old file may still be open
}

// FollowFile reports whether the database's path no longer leads to the file that is
// open. If so, it makes a file if there is none, and ends every connection, so that new
// connections use the file at the path. With Postgres it always returns false. Safe for
// concurrent use.
func (db *DB) FollowFile() (replaced bool) {
	if db.driver != SQLite {
		return false
	}
	f := &db.file
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dropping && !inUse(db.pools) {
		f.dropping = false
		for i, p := range db.pools {
			p.SetMaxIdleConns(sqliteConnections[i])
		}
	}
	info, err := os.Stat(f.path)
	if err == nil && f.info != nil && os.SameFile(info, f.info) {
		f.companions = f.statCompanions()
		return false
	}
	replaced = f.info != nil
	f.removeCompanions()
	f.info, f.dropping = nil, true
	for _, p := range db.pools {
		p.SetMaxIdleConns(0) // idle connections end now, the others when they are returned
	}
	if makeFile(f.path) == nil { // if not, opening the file fails with the reason
		f.info, _ = os.Stat(f.path)
	}
	return replaced
}

// companionSuffixes are the suffixes of the names of journal and index.
var companionSuffixes = []string{"-wal", "-shm"}

func (f *file) statCompanions() []os.FileInfo {
	infos := make([]os.FileInfo, len(companionSuffixes))
	for i, end := range companionSuffixes {
		infos[i], _ = os.Stat(f.path + end)
	}
	return infos
}

// removeCompanions removes the journal and the index of the file that is gone. SQLite
// would apply them to the new file, and make a mixture of both.
func (f *file) removeCompanions() {
	for i, info := range f.statCompanions() {
		if i < len(f.companions) && info != nil && f.companions[i] != nil && os.SameFile(info, f.companions[i]) {
			_ = os.Remove(f.path + companionSuffixes[i])
		}
	}
	f.companions = nil
}

func inUse(pools []*sql.DB) bool {
	for _, p := range pools {
		if p.Stats().InUse > 0 {
			return true
		}
	}
	return false
}
