package conditions

// Severity says how urgent a condition is.
type Severity string

// The severities, by which alerts select conditions.
const (
	// Info: nothing is wrong; the condition explains why something takes time.
	Info Severity = "info"
	// Warning: all answers are still correct, but something is degraded or about to fail.
	Warning Severity = "warning"
	// Critical: requests or changes are failing, or a promise is broken.
	Critical Severity = "critical"
)

// Name is a condition's name: its label in the metric, and its runbook's heading.
type Name string

// The conditions.
const (
	NoAdministrator    Name = "administrator_missing"
	TransactionOld     Name = "transaction_old"
	UsageExposed       Name = "usage_exposed"
	DatabaseWait       Name = "database_wait"
	Migrating          Name = "migrating"
	DatabaseDown       Name = "database_unreachable"
	FeedBehind         Name = "feed_behind"
	SchemaMissing      Name = "schema_missing"
	MigrationFailed    Name = "migration_failed"
	WritesFail         Name = "database_writes_fail"
	CertificateInvalid Name = "certificate_invalid"
	CertificateEnds    Name = "certificate_expiring"
	CertificateRefused Name = "certificate_refused"
	AuthorityInvalid   Name = "authority_invalid"
	AuthorityEnds      Name = "authority_expiring"
	PepperMissing      Name = "pepper_missing"
	SealingMismatch    Name = "sealing_mismatch"
	ClockOff           Name = "clock_off"
	RowsUnreadable     Name = "rows_unreadable"
	ConfigRefused      Name = "configuration_refused"
	RedisDown          Name = "redis_unreachable"
	RedisFull          Name = "redis_full"
)

// Definition holds what every occurrence of a condition has in common.
type Definition struct {
	Name     Name
	Severity Severity
	// NotReady makes /readyz answer 503 and gRPC health NOT_SERVING. It is for faults
	// that other replicas may not have. A fault of the database affects every replica,
	// and if all of them were not ready, none would be left to answer.
	NotReady bool
	Title    string // what is wrong, in a few words for tables
	Remedy   string // what to do, in one sentence without a period
}

// Known returns the definitions of all conditions, in the order of names.
func Known() []Definition {
	return []Definition{
		{NoAdministrator, Warning, false, "no administrator can manage all keys", "run: extauthz admin recover; where there is no administrator at all, a new key in admin.bootstrap_key_file and a restart do too"},
		{AuthorityEnds, Warning, false, "a certificate authority for peers expires soon", "add its successor to the file; clients need certificates of the new one before the old one expires"},
		{AuthorityInvalid, Critical, false, "no certificate authority for peers is valid now", "put a valid authority into the file, which is read again when it changes, or set the clock right"},
		{CertificateEnds, Warning, false, "a certificate expires soon", "renew it, and find out why it was not renewed automatically; a listener uses new files without a restart"},
		{CertificateInvalid, Critical, false, "a certificate is not valid now", "put a valid certificate and its key in place, which a listener uses without a restart, or set the clock right"},
		{CertificateRefused, Warning, false, "certificate files that have changed cannot be used", "write a certificate and the key that belongs to it; the last valid ones are served until then"},
		{ClockOff, Warning, false, "the local clock differs from the database's", "synchronise the clocks (NTP) of this machine and of the database"},
		{ConfigRefused, Warning, false, "the last configuration that was read is not in effect", "fix what the text names, before a restart fails because of it"},
		{DatabaseDown, Critical, false, "the database does not answer", "bring the database back; leave running replicas alone, since a new one has an empty cache"},
		{DatabaseWait, Critical, false, "the start waits for the database", "bring the database up, or correct database.dsn"},
		{WritesFail, Critical, false, "the database takes no writes", "do what the text states; checks go on meanwhile, but keys cannot be made, changed or revoked"},
		{FeedBehind, Warning, false, "the change feed cannot be read", "do what the text states; every check queries the database until the feed is read again"},
		{Migrating, Info, false, "the database is being migrated", "wait: it may take minutes with millions of keys"},
		{MigrationFailed, Critical, true, "the database cannot be migrated", "do what the text states, or run extauthz migrate up with a role that may create tables"},
		{PepperMissing, Critical, false, "the pepper of stored keys is not loaded", "put the file with the pepper back and list it in keys.pepper_files; those keys are refused until then"},
		{RedisFull, Warning, false, "Redis takes no writes", "raise Redis's maxmemory, or set maxmemory-policy volatile-lru; checks go on"},
		{RedisDown, Warning, false, "Redis does not answer", "bring Redis back or correct cache.redis; checks continue from L1 and the database"},
		{RowsUnreadable, Warning, false, "rows of keys cannot be read", "run extauthz keys check, which names them, and fix the columns in the database; those keys are refused until then"},
		{SchemaMissing, Critical, false, "the database lacks extauthz's tables", "restore the database, or point database.dsn to the right one; an empty one is migrated again automatically"},
		{SealingMismatch, Warning, false, "replicas have different sealing keys", "give all replicas the same file in cache.sealing_key_file; until then they trust none of each other's values in Redis"},
		{TransactionOld, Warning, false, "a transaction is open for a long time", "end the session that the text names (pg_terminate_backend, or ROLLBACK PREPARED): Postgres cannot clean up behind it; checks and revocations go on"},
		{UsageExposed, Warning, false, "usage counts are in memory only", "bring the database back, or make data_dir writable and raise usage.spool_mib, or use Redis: a kill would lose them"},
	}
}
