package models

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// Versions order the states of a key or a role, so they must never go back. In Postgres
// they come from a sequence, which a replication that leaves sequences out, a restored
// dump or a setval can set back. Three mechanisms protect against that. The triggers give
// a row only a version that is higher than its last one. A feed reader or a start that
// finds the sequence behind moves it beyond all versions that were assigned. Then the
// database also begins another epoch, since versions that were compared in between may
// have misled. In SQLite the sequence is a row, and a trigger does all of this if that
// row is set back.

// EndEpoch begins another epoch if the database is still in the given one. Of many
// concurrent callers, only one does so. Versions that were set back are moved forward.
func (db *DB) EndEpoch(ctx context.Context, epoch string) error {
	f := db.feed
	err := db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		res := tx.Exec(fmt.Sprintf(`UPDATE extauthz_meta AS m SET epoch = %s, why = 'a replica found that the database went back behind what was read from it'
			WHERE m.id = 1 AND %s = ?`, f.random, f.epoch), epoch)
		if res.Error != nil || res.RowsAffected == 0 {
			return res.Error
		}
		_, err := db.forward(tx)
		return err
	})
	if err != nil {
		return fmt.Errorf("another epoch can't begin: %w", err)
	}
	return nil
}

// RepairVersions moves versions forward and begins another epoch if the next version
// would not be higher than all that were assigned; repaired reports whether it did so.
// The assigned versions are known from the feed's marks and its newest changes, so the
// number of keys does not matter. Older changes are not read, so that a start does not
// wait for an outbox of millions. If there is no mark yet, the versions of all keys are
// read and a mark is set. Right after a statement that changed a million keys, this takes
// more than a second.
func (db *DB) RepairVersions(ctx context.Context) (repaired bool, err error) {
	var unmarked bool
	err = db.gorm.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if db.driver == Postgres {
			if err := tx.Exec("SET LOCAL statement_timeout = 0").Error; err != nil {
				return err
			}
		}
		var behind bool
		if err := tx.Raw(`SELECT `+db.feed.given+` < max(v.version), NOT EXISTS (SELECT 1 FROM feed_marks WHERE version > 0) FROM (
			SELECT COALESCE((SELECT max(version) FROM feed_marks), 0) AS version
			UNION ALL SELECT COALESCE((SELECT max(version) FROM (SELECT version FROM outbox ORDER BY id DESC LIMIT 100000) AS newest), 0)
			UNION ALL SELECT COALESCE((SELECT max(version) FROM roles), 0)
			UNION ALL SELECT COALESCE((SELECT max(version) FROM api_keys WHERE NOT EXISTS (SELECT 1 FROM feed_marks WHERE version > 0)), 0)) AS v`).
			Row().Scan(&behind, &unmarked); err != nil || !behind {
			return err
		}
		repaired, err = db.forward(tx)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("versions can't be compared with those of the rows: %w", oneLine(err))
	}
	if unmarked {
		// The error is ignored: a replica can serve from a database that accepts no
		// writes at present. The next start then reads the keys again.
		_ = db.insertMark(db.gorm.WithContext(ctx))
	}
	return repaired, nil
}

// forward moves the last assigned version to or beyond all versions that are stored, if
// it is behind. The outbox is empty after such a move, so a mark records the last
// assigned version.
func (db *DB) forward(tx *gorm.DB) (moved bool, err error) {
	if db.driver == Postgres {
		err = tx.Raw("SELECT extauthz_versions_forward()").Row().Scan(&moved)
	} else {
		// This sets the row back, so that its trigger does the rest.
		res := tx.Exec(`UPDATE change_seq SET value = value - 1
			WHERE value < (SELECT max(version) FROM (SELECT max(version) AS version FROM api_keys UNION ALL SELECT max(version) FROM roles UNION ALL SELECT max(version) FROM outbox UNION ALL SELECT max(version) FROM feed_marks))`)
		moved, err = res.RowsAffected > 0, res.Error
	}
	if err != nil || !moved {
		return false, err
	}
	return true, db.insertMark(tx)
}
