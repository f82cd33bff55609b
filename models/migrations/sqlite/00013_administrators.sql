-- +goose Up
CREATE TABLE administrators (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    description   TEXT NOT NULL DEFAULT '',
    roles         TEXT NOT NULL DEFAULT '[]', -- JSON: names of management roles
    grants        TEXT NOT NULL DEFAULT '{}', -- JSON, as in api_keys
    allowed_cidrs TEXT NOT NULL DEFAULT '[]', -- JSON
    is_active     BOOLEAN NOT NULL DEFAULT TRUE,
    expires_at    DATETIME,
    family        TEXT NOT NULL DEFAULT '', -- of its keys in api_keys; '': it has none
    created_by    TEXT NOT NULL DEFAULT '',
    created_at    DATETIME NOT NULL,
    updated_at    DATETIME NOT NULL,
    version       BIGINT NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX administrators_name ON administrators (name);
CREATE UNIQUE INDEX administrators_family ON administrators (family) WHERE family <> '';
CREATE TABLE administrator_roles ( -- besides the built-in ones
    name        TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    permissions TEXT NOT NULL DEFAULT '[]', -- JSON: scopes on the reserved resource
    created_at  DATETIME NOT NULL,
    updated_at  DATETIME NOT NULL,
    version     BIGINT NOT NULL DEFAULT 1
);
ALTER TABLE audit_log ADD COLUMN administrator TEXT NOT NULL DEFAULT ''; -- id of the one that was changed
