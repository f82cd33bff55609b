package models

import (
	"context"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlitecodes "modernc.org/sqlite/lib"
)

// FaultKind is a class of reasons for which a database fails a statement.
type FaultKind string

// The kinds.
const (
	FaultUnreachable   FaultKind = "unreachable"    // no database answers at the address
	FaultStarting      FaultKind = "starting"       // the server starts, stops or ends connections on request
	FaultStandby       FaultKind = "standby"        // the server is not a primary
	FaultRefused       FaultKind = "refused"        // the server refuses the login, or its certificate is not accepted
	FaultNoDatabase    FaultKind = "no_database"    // the server has no database of this name
	FaultSchemaMissing FaultKind = "schema_missing" // tables, columns or the schema are not there
	FaultDiskFull      FaultKind = "disk_full"
	FaultReadOnly      FaultKind = "read_only"
	FaultPermission    FaultKind = "permission"  // the role, or the user that opens the file, lacks a right
	FaultConnections   FaultKind = "connections" // there are too many
	FaultResources     FaultKind = "resources"   // memory, or a limit of the server
	FaultBusy          FaultKind = "busy"        // locks or conflicts of other transactions
	FaultTimeout       FaultKind = "timeout"
	FaultIO            FaultKind = "io" // the disk under the database fails
	FaultCorrupt       FaultKind = "corrupt"
	FaultData          FaultKind = "data" // a value or a row, and not the database, is at fault
	FaultOther         FaultKind = "other"
)

// Fault describes to people why a database failed a statement. It holds neither
// values of a statement nor parts of a connection string, so it may be shown to
// every administrator.
type Fault struct {
	Kind FaultKind
	What string // what is wrong, and why
	Do   string // what to do
}

// String returns the cause and what to do, on one line.
func (f Fault) String() string { return f.What + ": " + f.Do }

// Passes reports whether the fault may pass with time, or by an action of the database's
// operator, without a change to this service. A start waits for such a fault to pass.
func (f Fault) Passes() bool {
	switch f.Kind {
	case FaultSchemaMissing, FaultCorrupt, FaultData, FaultOther:
		return false
	}
	return true
}

var faultTexts = map[FaultKind]Fault{
	FaultUnreachable:   {What: "the database cannot be reached", Do: "bring it up, or check database.dsn and the network in between"},
	FaultStarting:      {What: "the database is starting or stopping", Do: "wait, or see in its log why it does not come up"},
	FaultStandby:       {What: "the database is a standby, which takes no writes and lags behind", Do: "point database.dsn to the primary, or promote it"},
	FaultRefused:       {What: "the database refuses the connection", Do: "check user, password and TLS in database.dsn, and pg_hba.conf of the server"},
	FaultNoDatabase:    {What: "the server has no database of that name", Do: "create it (CREATE DATABASE), or check the name in database.dsn"},
	FaultSchemaMissing: {What: "the database lacks extauthz's tables", Do: "restore it, or point database.dsn to the right one; an empty one is migrated by extauthz migrate up"},
	FaultDiskFull:      {What: "the disk under the database is full", Do: "free or add space; nothing needs a restart"},
	FaultReadOnly:      {What: "the database is read-only", Do: "end read-only mode (default_transaction_read_only, a managed service's full storage, a read-only file system), or point database.dsn to the primary"},
	FaultPermission:    {What: "the database does not permit it", Do: "grant the role of database.dsn the rights on extauthz's tables, or give the database file and its folder to the user that runs this"},
	FaultConnections:   {What: "the database has too many connections", Do: "lower database.max_open on the replicas, raise max_connections, or put a pooler in between"},
	FaultResources:     {What: "the database has run into a limit of its server", Do: "see the server's log for memory and limits"},
	FaultBusy:          {What: "the database is held up by a lock of another transaction", Do: "try again; find and end the long transaction if it goes on (pg_stat_activity)"},
	FaultTimeout:       {What: "the database did not answer in time", Do: "try again; see the load of the database and the network in between if it goes on"},
	FaultIO:            {What: "the disk under the database fails", Do: "see the logs of the machine and of the database; move to another disk"},
	FaultCorrupt:       {What: "the database is damaged", Do: "stop the service, keep a copy of the files, and restore a backup"},
	FaultData:          {What: "the database refuses a value", Do: "see the service's log for the database's own words"},
	FaultOther:         {What: "the database does not answer as it should", Do: "see the service's log for the database's own words"},
}

// FaultOf returns why a database call failed; ok is false for nil. Errors that do not
// come from a database are FaultOther.
func FaultOf(err error) (f Fault, ok bool) {
	if err == nil {
		return Fault{}, false
	}
	kind, why := classify(err)
	f = faultTexts[kind]
	f.Kind = kind
	if why != "" {
		f.What += " (" + why + ")"
	}
	return f, true
}

// IsFault reports whether err is a fault of that kind.
func IsFault(err error, kind FaultKind) bool {
	f, ok := FaultOf(err)
	return ok && f.Kind == kind
}

// classify returns the kind and, in a few words, the name that the database or the system
// gives the error.
func classify(err error) (kind FaultKind, why string) {
	var postgres *pgconn.PgError
	var file *sqlite.Error
	switch {
	case errors.Is(err, pgconn.ErrStandbyConnection), errors.Is(err, pgconn.ErrReadOnlyConnection):
		return FaultStandby, ""
	case errors.As(err, &postgres):
		return postgresKind(postgres.Code), "SQLSTATE " + postgres.Code
	case errors.As(err, &file):
		return sqliteKind(file)
	case errors.Is(err, errFile):
		return fileKind(err)
	}
	return connectionKind(err)
}

// postgresKind classifies by the code (SQLSTATE), since the server may translate its
// messages.
func postgresKind(code string) FaultKind {
	switch code {
	case "53100":
		return FaultDiskFull
	case "53300":
		return FaultConnections
	case "25006":
		return FaultReadOnly
	case "42501":
		return FaultPermission
	case "3D000", "57P04":
		return FaultNoDatabase
	case "XX001", "XX002":
		return FaultCorrupt
	case "42P01", "42703", "42883", "3F000", "42704":
		return FaultSchemaMissing
	case "57014", "25P03", "57P05", "25P04":
		return FaultTimeout
	case "55P03", "55006":
		return FaultBusy
	}
	if len(code) != 5 {
		return FaultOther
	}
	switch code[:2] {
	case "08":
		return FaultUnreachable
	case "22", "23":
		return FaultData
	case "28":
		return FaultRefused
	case "40":
		return FaultBusy
	case "53", "54":
		return FaultResources
	case startingClass:
		return FaultStarting
	case "58":
		return FaultIO
	}
	return FaultOther
}

// sqliteKind classifies by the primary code. For the general code (SQLITE_ERROR), only
// the message has the meaning; the library does not translate it.
func sqliteKind(err *sqlite.Error) (FaultKind, string) {
	name := strings.TrimSpace(sqlite.ErrorCodeString[err.Code()&0xff])
	if open := strings.LastIndex(name, "("); open >= 0 {
		name = strings.Trim(name[open:], "()")
	}
	// A file that can't be made larger, or not be mapped beyond its end, is what a full disk
	// looks like when the database is opened.
	switch err.Code() {
	case sqlitecodes.SQLITE_IOERR_SHMSIZE, sqlitecodes.SQLITE_IOERR_SHMMAP, sqlitecodes.SQLITE_IOERR_SHMOPEN:
		return FaultDiskFull, name
	}
	switch err.Code() & 0xff {
	case sqlitecodes.SQLITE_FULL:
		return FaultDiskFull, name
	case sqlitecodes.SQLITE_READONLY:
		return FaultReadOnly, name
	case sqlitecodes.SQLITE_PERM, sqlitecodes.SQLITE_AUTH, sqlitecodes.SQLITE_CANTOPEN:
		return FaultPermission, name
	case sqlitecodes.SQLITE_BUSY, sqlitecodes.SQLITE_LOCKED:
		return FaultBusy, name
	case sqlitecodes.SQLITE_IOERR:
		return FaultIO, name
	case sqlitecodes.SQLITE_CORRUPT, sqlitecodes.SQLITE_NOTADB:
		return FaultCorrupt, name
	case sqlitecodes.SQLITE_CONSTRAINT, sqlitecodes.SQLITE_MISMATCH, sqlitecodes.SQLITE_TOOBIG:
		return FaultData, name
	case sqlitecodes.SQLITE_NOMEM:
		return FaultResources, name
	case sqlitecodes.SQLITE_INTERRUPT:
		return FaultTimeout, name
	}
	for _, text := range []string{"no such table", "no such column", "no such function"} {
		if strings.Contains(err.Error(), text) {
			return FaultSchemaMissing, ""
		}
	}
	return FaultOther, name
}

// fileKind classifies errors of the database file from before SQLite opens it.
func fileKind(err error) (FaultKind, string) {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return FaultPermission, ""
	}
	switch number {
	case syscall.ENOSPC, syscall.EDQUOT:
		return FaultDiskFull, number.Error()
	case syscall.EROFS:
		return FaultReadOnly, number.Error()
	case syscall.EIO:
		return FaultIO, number.Error()
	}
	return FaultPermission, number.Error()
}

// connectionKind classifies errors of the network and of the pool. It is called last: an
// error from the server is more precise than the end of the connection that follows it.
func connectionKind(err error) (FaultKind, string) {
	var name *net.DNSError
	var socket *net.OpError
	var number syscall.Errno
	var network net.Error
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return FaultUnreachable, "its host name cannot be resolved"
	case errors.As(err, &authority), errors.As(err, &host), errors.As(err, &invalid):
		return FaultRefused, "its certificate is not accepted"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return timeoutKind(err), "time-out"
	case errors.As(err, &socket) && errors.As(err, &number):
		return FaultUnreachable, number.Error()
	case errors.As(err, &network) && network.Timeout():
		return timeoutKind(err), "time-out"
	case isConnecting(err), errors.Is(err, ErrUnreachable), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return FaultUnreachable, ""
	}
	return FaultOther, ""
}

// timeoutKind distinguishes a database that was not reached in time from one that
// did not answer in time.
func timeoutKind(err error) FaultKind {
	if isConnecting(err) {
		return FaultUnreachable
	}
	return FaultTimeout
}

func isConnecting(err error) bool {
	var connect *pgconn.ConnectError
	return errors.As(err, &connect)
}
