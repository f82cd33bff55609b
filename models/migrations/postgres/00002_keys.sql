-- +goose Up
-- Limits are for the traffic: a migration takes as long as it takes.
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
CREATE TABLE IF NOT EXISTS api_keys (
    id            TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL,
    name          TEXT NOT NULL DEFAULT '',
    key_prefix    TEXT NOT NULL,
    key_hash      TEXT NOT NULL,
    scopes        TEXT NOT NULL DEFAULT '[]',
    is_active     BOOLEAN NOT NULL DEFAULT TRUE,
    expires_at    TIMESTAMPTZ,
    created_at    TIMESTAMPTZ NOT NULL,
    updated_at    TIMESTAMPTZ NOT NULL,
    hash_alg      TEXT NOT NULL DEFAULT 'sha256',
    pepper_id     TEXT NOT NULL DEFAULT '',
    environment   TEXT NOT NULL DEFAULT '',
    revoked_at    TIMESTAMPTZ,
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
    name        TEXT COLLATE "C" PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    scopes      TEXT NOT NULL DEFAULT '[]',
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL,
    version     BIGINT NOT NULL DEFAULT 0
);
CREATE SEQUENCE change_version;
CREATE TABLE outbox (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version BIGINT NOT NULL,
    kind    SMALLINT NOT NULL, -- authz.ChangeKind
    prefix  TEXT NOT NULL DEFAULT '',
    key_id  TEXT NOT NULL DEFAULT '',
    user_id TEXT NOT NULL DEFAULT '',
    role    TEXT NOT NULL DEFAULT '',
    at      TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    xid     XID8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX outbox_xid ON outbox (xid);
CREATE TABLE feed_marks (
    id      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    epoch   TEXT NOT NULL,
    place   BIGINT NOT NULL, -- whatever is committed after at has this xid or a higher one
    at      TIMESTAMPTZ NOT NULL,
    trimmed BOOLEAN NOT NULL -- lower xids may be gone from the outbox
);
CREATE TABLE extauthz_meta (id INTEGER PRIMARY KEY CHECK (id = 1), epoch TEXT NOT NULL);
INSERT INTO extauthz_meta (id, epoch) VALUES (1, gen_random_uuid()::text);
CREATE TABLE key_usage (key_id TEXT PRIMARY KEY, count BIGINT NOT NULL, last_used_at TIMESTAMPTZ NOT NULL); -- apart, so that use changes no version
CREATE TABLE audit_log (
    id TEXT COLLATE "C" PRIMARY KEY, at TIMESTAMPTZ NOT NULL, actor TEXT NOT NULL, actor_name TEXT NOT NULL, action TEXT NOT NULL,
    key_id TEXT NOT NULL, prefix TEXT NOT NULL, user_id TEXT NOT NULL, role TEXT NOT NULL,
    request_id TEXT NOT NULL, source TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX audit_log_key_id ON audit_log (key_id, id);
CREATE TABLE idempotency_keys (
    principal TEXT NOT NULL, key TEXT NOT NULL, fingerprint BYTEA NOT NULL, key_id TEXT NOT NULL, at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (principal, key)
);

-- The version rises where a column that decisions rest on differs: all but created_at, updated_at and those not ours.
-- +goose StatementBegin
CREATE FUNCTION extauthz_key_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version; -- one set by hand is overridden
        IF (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
            NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
            NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants)
           IS NOT DISTINCT FROM
           (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
            OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
            OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants) THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.version := nextval('change_version');
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION extauthz_role_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version; -- one set by hand is overridden
        IF (NEW.name, NEW.description, NEW.scopes)
           IS NOT DISTINCT FROM
           (OLD.name, OLD.description, OLD.scopes) THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.version := nextval('change_version');
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION extauthz_key_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (version, kind, prefix, key_id, user_id)
            VALUES (nextval('change_version'), 1, OLD.key_prefix, OLD.id, OLD.user_id);
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.version = OLD.version THEN
            RETURN NULL;
        END IF;
        IF (OLD.key_prefix, OLD.id, OLD.user_id) IS DISTINCT FROM (NEW.key_prefix, NEW.id, NEW.user_id) THEN
            INSERT INTO outbox (version, kind, prefix, key_id, user_id)
                VALUES (NEW.version, 1, OLD.key_prefix, OLD.id, OLD.user_id);
        END IF;
    END IF;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id)
        VALUES (NEW.version, 1, NEW.key_prefix, NEW.id, NEW.user_id);
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION extauthz_role_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (version, kind, role) VALUES (nextval('change_version'), 2, OLD.name);
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.version = OLD.version THEN
            RETURN NULL;
        END IF;
        IF OLD.name IS DISTINCT FROM NEW.name THEN
            INSERT INTO outbox (version, kind, role) VALUES (NEW.version, 2, OLD.name);
        END IF;
    END IF;
    INSERT INTO outbox (version, kind, role) VALUES (NEW.version, 2, NEW.name);
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION extauthz_ring() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_notify('extauthz_changes', ''); -- a notification: the outbox has the changes
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION extauthz_no_truncate() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE would bypass the change feed: use DELETE FROM %', TG_TABLE_NAME;
END $$;
-- +goose StatementEnd

CREATE TRIGGER api_keys_version BEFORE INSERT OR UPDATE ON api_keys FOR EACH ROW EXECUTE FUNCTION extauthz_key_version();
CREATE TRIGGER api_keys_changed AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION extauthz_key_changed();
CREATE TRIGGER api_keys_ring AFTER INSERT OR UPDATE OR DELETE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION extauthz_ring();
CREATE TRIGGER api_keys_no_truncate BEFORE TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION extauthz_no_truncate();
CREATE TRIGGER roles_version BEFORE INSERT OR UPDATE ON roles FOR EACH ROW EXECUTE FUNCTION extauthz_role_version();
CREATE TRIGGER roles_changed AFTER INSERT OR UPDATE OR DELETE ON roles FOR EACH ROW EXECUTE FUNCTION extauthz_role_changed();
CREATE TRIGGER roles_ring AFTER INSERT OR UPDATE OR DELETE ON roles FOR EACH STATEMENT EXECUTE FUNCTION extauthz_ring();
CREATE TRIGGER roles_no_truncate BEFORE TRUNCATE ON roles FOR EACH STATEMENT EXECUTE FUNCTION extauthz_no_truncate();
