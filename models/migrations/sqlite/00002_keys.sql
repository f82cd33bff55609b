-- +goose Up
CREATE TABLE api_keys (
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
CREATE UNIQUE INDEX api_keys_key_prefix ON api_keys (key_prefix);
CREATE INDEX api_keys_user_id ON api_keys (user_id, id);
CREATE INDEX api_keys_family ON api_keys (family);
CREATE INDEX api_keys_project ON api_keys (project, id);

CREATE TABLE roles (
    name        TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    scopes      TEXT NOT NULL DEFAULT '[]',
    created_at  DATETIME NOT NULL,
    updated_at  DATETIME NOT NULL,
    version     BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE change_seq (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    value    BIGINT NOT NULL,
    stamping BOOLEAN NOT NULL -- a trigger writes a version just now
);
INSERT INTO change_seq VALUES (1, 0, FALSE);
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
CREATE TABLE feed_marks (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    epoch   TEXT NOT NULL,
    place   BIGINT NOT NULL, -- whatever is committed after at has a higher version
    at      DATETIME NOT NULL,
    trimmed BOOLEAN NOT NULL -- versions up to place may be gone from the outbox
);
CREATE TABLE extauthz_meta (id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL);
INSERT INTO extauthz_meta (id, epoch) VALUES (1, lower(hex(randomblob(16))));
CREATE TABLE key_usage (key_id TEXT PRIMARY KEY, count BIGINT NOT NULL, last_used_at DATETIME NOT NULL); -- apart, so that use changes no version
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

-- A version is written by the triggers alone: one set by hand is overridden, whatever it is. The version rises where a
-- column that decisions rest on differs: all but created_at and updated_at.
-- +goose StatementBegin
CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys BEGIN
    UPDATE change_seq SET value = value + 1, stamping = TRUE;
    UPDATE api_keys SET version = (SELECT value FROM change_seq) WHERE id = NEW.id;
    UPDATE change_seq SET stamping = FALSE;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, NEW.key_prefix, NEW.id, NEW.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
WHEN NOT (SELECT stamping FROM change_seq) AND (
      (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
       OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
       OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants)
      IS NOT (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
       NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
       NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants)
      OR OLD.version IS NOT NEW.version)
BEGIN
    UPDATE change_seq SET value = value + 1, stamping = TRUE;
    UPDATE api_keys SET version = (SELECT value FROM change_seq) WHERE id = NEW.id;
    UPDATE change_seq SET stamping = FALSE;
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
-- INSERT OR REPLACE and UPDATE OR REPLACE delete rows without firing a trigger for DELETE.
-- +goose StatementBegin
CREATE TRIGGER api_keys_insert_replaces BEFORE INSERT ON api_keys
WHEN EXISTS (SELECT 1 FROM api_keys WHERE id = NEW.id OR key_prefix = NEW.key_prefix)
BEGIN
    UPDATE change_seq SET value = value + 1;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT s.value, 1, k.key_prefix, k.id, k.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq s, api_keys k
        WHERE k.id = NEW.id OR k.key_prefix = NEW.key_prefix;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER api_keys_update_replaces BEFORE UPDATE OF id, key_prefix ON api_keys
WHEN EXISTS (SELECT 1 FROM api_keys WHERE id IS NOT OLD.id AND (id = NEW.id OR key_prefix = NEW.key_prefix))
BEGIN
    UPDATE change_seq SET value = value + 1;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT s.value, 1, k.key_prefix, k.id, k.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq s, api_keys k
        WHERE k.id = NEW.id OR k.key_prefix = NEW.key_prefix;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER roles_inserted AFTER INSERT ON roles BEGIN
    UPDATE change_seq SET value = value + 1, stamping = TRUE;
    UPDATE roles SET version = (SELECT value FROM change_seq) WHERE name = NEW.name;
    UPDATE change_seq SET stamping = FALSE;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, NEW.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER roles_updated AFTER UPDATE ON roles
WHEN NOT (SELECT stamping FROM change_seq) AND (
      (OLD.name, OLD.description, OLD.scopes, OLD.version)
      IS NOT (NEW.name, NEW.description, NEW.scopes, NEW.version))
BEGIN
    UPDATE change_seq SET value = value + 1, stamping = TRUE;
    UPDATE roles SET version = (SELECT value FROM change_seq) WHERE name = NEW.name;
    UPDATE change_seq SET stamping = FALSE;
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
