-- +goose Up
CREATE TABLE IF NOT EXISTS api_keys (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL,
    name          TEXT NOT NULL DEFAULT '',
    key_prefix    TEXT NOT NULL,
    key_hash      TEXT NOT NULL,
    scopes        TEXT NOT NULL DEFAULT '[]',
    is_active     BOOLEAN NOT NULL DEFAULT 1,
    expires_at    DATETIME,
    created_at    DATETIME NOT NULL,
    updated_at    DATETIME NOT NULL,
    hash_alg      TEXT NOT NULL DEFAULT 'sha256',
    pepper_id     TEXT NOT NULL DEFAULT '',
    environment   TEXT NOT NULL DEFAULT '',
    revoked_at    DATETIME,
    rotated_from  TEXT NOT NULL DEFAULT '',
    allowed_cidrs TEXT NOT NULL DEFAULT '[]',
    metadata      TEXT NOT NULL DEFAULT '{}',
    rate          TEXT NOT NULL DEFAULT '',
    project       TEXT NOT NULL DEFAULT '',
    roles         TEXT NOT NULL DEFAULT '[]',
    family        TEXT NOT NULL DEFAULT '',
    version       BIGINT NOT NULL DEFAULT 0,
    grants        TEXT NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX IF NOT EXISTS api_keys_key_prefix ON api_keys (key_prefix);
CREATE INDEX IF NOT EXISTS api_keys_user_id ON api_keys (user_id, id);
CREATE INDEX IF NOT EXISTS api_keys_family ON api_keys (family);

CREATE TABLE roles (
    name        TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    scopes      TEXT NOT NULL DEFAULT '[]',
    created_at  DATETIME NOT NULL,
    updated_at  DATETIME NOT NULL,
    version     BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE change_seq (id INTEGER PRIMARY KEY CHECK (id = 1), value BIGINT NOT NULL);
INSERT INTO change_seq VALUES (1, 0);
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    version BIGINT NOT NULL,
    kind    INTEGER NOT NULL, -- authz.ChangeKind
    prefix  TEXT NOT NULL DEFAULT '',
    key_id  TEXT NOT NULL DEFAULT '',
    user_id TEXT NOT NULL DEFAULT '',
    role    TEXT NOT NULL DEFAULT '',
    at      DATETIME NOT NULL
);
CREATE INDEX outbox_version ON outbox (version);
CREATE TABLE extauthz_meta (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    epoch   TEXT NOT NULL,
    trimmed BIGINT NOT NULL DEFAULT 0 -- versions up to here may be gone from the outbox
);
INSERT INTO extauthz_meta (id, epoch) VALUES (1, lower(hex(randomblob(16))));
CREATE TABLE key_usage (key_id TEXT PRIMARY KEY, count BIGINT NOT NULL, last_used_at DATETIME NOT NULL);
CREATE TABLE audit_log (
    id TEXT PRIMARY KEY, at DATETIME NOT NULL, actor TEXT NOT NULL, actor_name TEXT NOT NULL, action TEXT NOT NULL,
    key_id TEXT NOT NULL, prefix TEXT NOT NULL, user_id TEXT NOT NULL, role TEXT NOT NULL,
    request_id TEXT NOT NULL, source TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX audit_log_key_id ON audit_log (key_id, id);
CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL, key TEXT NOT NULL, fingerprint BLOB NOT NULL, key_id TEXT NOT NULL, at DATETIME NOT NULL,
    PRIMARY KEY (principal, key)
);

-- +goose StatementBegin
CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys BEGIN
    UPDATE change_seq SET value = value + 1;
    UPDATE api_keys SET version = (SELECT value FROM change_seq) WHERE id = NEW.id;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, NEW.key_prefix, NEW.id, NEW.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
WHEN (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.hash_alg, OLD.pepper_id,
      OLD.environment, OLD.rotated_from, OLD.allowed_cidrs, OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants)
     IS NOT
     (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.hash_alg, NEW.pepper_id,
      NEW.environment, NEW.rotated_from, NEW.allowed_cidrs, NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants)
     OR OLD.expires_at IS NOT NEW.expires_at OR OLD.revoked_at IS NOT NEW.revoked_at
     -- a version set by hand is overridden
     OR NEW.version IS NOT OLD.version AND NEW.version IS NOT (SELECT value FROM change_seq)
BEGIN
    UPDATE change_seq SET value = value + 1;
    UPDATE api_keys SET version = (SELECT value FROM change_seq) WHERE id = NEW.id;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, NEW.key_prefix, NEW.id, NEW.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, OLD.key_prefix, OLD.id, OLD.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq
        WHERE (OLD.key_prefix, OLD.id, OLD.user_id) IS NOT (NEW.key_prefix, NEW.id, NEW.user_id);
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys BEGIN
    UPDATE change_seq SET value = value + 1;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, OLD.key_prefix, OLD.id, OLD.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER roles_inserted AFTER INSERT ON roles BEGIN
    UPDATE change_seq SET value = value + 1;
    UPDATE roles SET version = (SELECT value FROM change_seq) WHERE name = NEW.name;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, NEW.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER roles_updated AFTER UPDATE ON roles
WHEN (OLD.name, OLD.scopes, OLD.description) IS NOT (NEW.name, NEW.scopes, NEW.description)
     OR NEW.version IS NOT OLD.version AND NEW.version IS NOT (SELECT value FROM change_seq)
BEGIN
    UPDATE change_seq SET value = value + 1;
    UPDATE roles SET version = (SELECT value FROM change_seq) WHERE name = NEW.name;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, NEW.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, OLD.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq WHERE OLD.name IS NOT NEW.name;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER roles_deleted AFTER DELETE ON roles BEGIN
    UPDATE change_seq SET value = value + 1;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, OLD.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd

-- Rows of a table that was taken over get a family of their own, and so a version.
UPDATE api_keys SET family = id WHERE family = '';
