package models

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	sqlBlock = regexp.MustCompile("(?ms)^```sql\n(.*?)^```")
	sqlSpan  = regexp.MustCompile("`((?:UPDATE|INSERT INTO|DELETE FROM|SELECT|VACUUM) [^`]+)`")
)

// documentedSQL returns the SQL statements about the service's tables that the
// documentation contains.
func documentedSQL(t *testing.T) (statements []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "dist") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".md") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, found := range append(sqlBlock.FindAllStringSubmatch(string(text), -1), sqlSpan.FindAllStringSubmatch(string(text), -1)...) {
			for statement := range strings.SplitSeq(found[1], ";") {
				if statement = strings.TrimSpace(statement); strings.Contains(statement, "api_keys") || strings.Contains(statement, "roles ") || strings.Contains(statement, "audit_log") {
					statements = append(statements, statement)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(statements)
	return slices.Compact(statements)
}

// TestDocuments_SQLRunsOnBothDatabases: an operator runs a documented statement to repair
// a damaged row, on either database. Afterwards the row can be read.
func TestDocuments_SQLRunsOnBothDatabases(t *testing.T) {
	statements := documentedSQL(t)
	repairs := 0
	each(t, func(t *testing.T, db *DB) {
		for _, statement := range statements {
			rec := insert(t, db, newKey(t, nil))[0]
			if db.driver == SQLite && strings.HasPrefix(statement, "VACUUM (") {
				continue // exists in Postgres only, and is documented for it
			}
			if err := db.gorm.Exec("UPDATE api_keys SET scopes = 'damaged'").Error; err != nil {
				t.Fatal(err)
			}
			runs := strings.ReplaceAll(statement, "WHERE …", "WHERE id = '"+rec.ID+"'")
			if err := db.gorm.Exec(runs).Error; err != nil {
				t.Errorf("%s: %v", statement, err)
				continue
			}
			if !strings.Contains(statement, "SET scopes") {
				continue
			}
			repairs++
			if after, _, err := db.KeyByPrefix(t.Context(), rec.Prefix); err != nil || len(after.Scopes) == 0 {
				t.Errorf("%s leaves a row that can't be read: %+v, %v", statement, after, err)
			}
		}
	})
	if repairs == 0 {
		t.Error("no document repairs a row's scopes")
	}
}
