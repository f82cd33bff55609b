package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"extauthz/cachesvc"
	"extauthz/cmd/extauthz/internal/server"
	"extauthz/models"
)

// checkBudget is how long a check of a request waits for a look-up.
const checkBudget = cachesvc.DefaultLookupWait

func (r *report) database(ctx context.Context) {
	c := server.DatabaseConfig(r.c.Settings)
	c.Logger = quiet()
	if c.Driver == models.SQLite {
		if _, err := os.Stat(c.DSN); errors.Is(err, fs.ErrNotExist) {
			r.add("database", Skipped, "", "%s is not there yet: extauthz serve makes it", c.DSN)
			return
		}
	}
	limited, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	db, err := models.Open(limited, c)
	if err != nil {
		r.fault("database", err)
		return
	}
	defer func() { _ = db.Close() }()
	r.add("database", OK, "", "it answers")
	if !r.schema(limited, db) {
		return
	}
	if err := db.ProbeWrite(limited, 0); err != nil {
		r.fault("database writes", err)
	} else {
		r.add("database writes", OK, "", "a write was committed, and leaves nothing behind")
	}
	r.clock(limited, db)
	r.keys(ctx, db)
}

// fault reports an error of the database by its class. An error without a class has a
// text of this program, which is reported as it is.
func (r *report) fault(name string, err error) {
	f, _ := models.FaultOf(err)
	if f.Kind == models.FaultOther {
		r.add(name, Failed, "do what the text states", "%v", err)
		return
	}
	r.add(name, Failed, f.Do, "%s", f.What)
}

func (r *report) schema(ctx context.Context, db *models.DB) (current bool) {
	version, newest, err := db.MigrationStatus(ctx)
	switch {
	case err != nil:
		r.fault("database schema", err)
	case version == 0:
		r.add("database schema", Warning, "start the service, or run extauthz migrate up", "the database is empty")
	case version < newest:
		r.add("database schema", Warning, "start the service, or run extauthz migrate up", "version %d, and this program needs %d", version, newest)
	default:
		r.add("database schema", OK, "", "version %d", version)
		return true
	}
	return false
}

func (r *report) clock(ctx context.Context, db *models.DB) {
	start := r.c.Now()
	there, err := db.Now(ctx)
	if err != nil {
		r.fault("clock", err)
		return
	}
	here := start.Add(r.c.Now().Sub(start) / 2)
	if ahead := there.Sub(here); ahead.Abs() > server.ClockLimit {
		r.add("clock", Warning, "synchronise the clocks (NTP) of this machine and of the database", "the database's clock is %s from this machine's (ahead, unless negative)", ahead.Round(time.Millisecond))
	} else {
		r.add("clock", OK, "", "it agrees with the database's")
	}
}

// keys examines all rows of keys, without a time limit.
func (r *report) keys(ctx context.Context, db *models.DB) {
	if n, first, err := db.UnreadableKeys(ctx, false); err != nil {
		r.fault("rows", err)
	} else if n > 0 {
		r.add("rows", Warning, "run extauthz keys check, which names them, and fix the columns in the database; those keys are refused until then", "%d rows of keys cannot be read: the first is %v", n, first)
	} else {
		r.add("rows", OK, "", "every row of a key can be read")
	}
	peppers, err := r.c.Settings.Peppers()
	if err != nil {
		return // validation would have refused the configuration
	}
	missing, err := db.KeysByMissingPepper(ctx, peppers.IDs(), r.c.Now())
	if err != nil {
		r.fault("peppers", err)
	}
	for id, n := range missing {
		r.add("peppers", Failed, "put the file with the pepper back and list it in keys.pepper_files", "%d keys were made with pepper %q, which no file in keys.pepper_files holds: they are refused", n, id)
	}
	if ids := peppers.IDs(); len(ids) > 0 && peppers.RejectsOthers() {
		if n, err := db.CountUnpeppered(ctx, ids); err == nil && n > 0 {
			r.add("peppers", Warning, "rotate them", "%d keys have a digest made without a pepper, and keys.require_pepper refuses them", n)
		}
	}
	if err == nil && len(missing) == 0 {
		r.add("peppers", OK, "", "the peppers of all keys are loaded")
	}
	if there, err := db.HasAdministrator(ctx); err != nil {
		r.fault("administrator", err)
	} else if !there {
		r.add("administrator", Warning, "set admin.bootstrap_key_file to a file with a whole key, and restart", "there is none: checks are answered, keys can't be managed")
	} else {
		r.add("administrator", OK, "", "there is one")
	}
}
