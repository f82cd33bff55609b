-- +goose Up
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
-- Shadow mode: what the administrator who set it may grant, and the end that was given first.
-- A row that is in shadow mode already is not known to be within the grants of an administrator:
-- it softens nothing until its shadow mode is set again.
ALTER TABLE api_keys ADD COLUMN shadow_end TIMESTAMPTZ, ADD COLUMN shadow_scopes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE extauthz_meta ADD COLUMN why TEXT NOT NULL DEFAULT ''; -- the epoch began
ALTER TABLE feed_marks ADD COLUMN version BIGINT NOT NULL DEFAULT 0; -- the last one that was given at the mark

-- Brings the sequence beyond all versions that were given, and begins another epoch,
-- unless it is beyond them. What the outbox holds bears versions of the epoch that is
-- over. The sequence is read after the rows: it grows meanwhile, and rows do not get
-- versions beyond it. It goes on with a margin, for versions of transactions that are
-- not committed yet, and for those that are taken meanwhile.
-- +goose StatementBegin
CREATE FUNCTION extauthz_versions_forward() RETURNS BOOLEAN LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    given BIGINT;
    highest BIGINT;
BEGIN
    PERFORM 1 FROM extauthz_meta WHERE id = 1 FOR UPDATE;
    SELECT GREATEST(0, (SELECT max(version) FROM api_keys), (SELECT max(version) FROM roles), (SELECT max(version) FROM outbox), (SELECT max(version) FROM feed_marks)) INTO highest;
    SELECT last_value INTO given FROM change_version;
    IF given >= highest THEN
        RETURN FALSE;
    END IF;
    PERFORM setval('change_version', highest + 10000);
    DELETE FROM outbox;
    UPDATE extauthz_meta SET epoch = gen_random_uuid()::text,
        why = format('versions went back from %s to %s: the sequence change_version was set back, or not taken along to another server', highest, given)
        WHERE id = 1;
    RETURN TRUE;
END $$;
-- +goose StatementEnd
-- The next version of something that has had the version above. A sequence that is
-- behind is left to the readers of the feed, which see it: a setval outlives a
-- transaction that is rolled back, and a lock here would make writers wait for one
-- another.
-- +goose StatementBegin
CREATE FUNCTION extauthz_next_version(above BIGINT) RETURNS BIGINT LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN GREATEST(nextval('change_version'), above + 1);
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION extauthz_key_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version; -- one set by hand is overridden
        IF (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
            NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
            NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants, NEW.shadow_until, NEW.shadow_end, NEW.shadow_scopes)
           IS NOT DISTINCT FROM
           (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
            OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
            OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants, OLD.shadow_until, OLD.shadow_end, OLD.shadow_scopes) THEN
            RETURN NEW;
        END IF;
        NEW.version := extauthz_next_version(OLD.version);
        RETURN NEW;
    END IF;
    NEW.version := nextval('change_version');
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION extauthz_role_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version; -- one set by hand is overridden
        IF (NEW.name, NEW.description, NEW.scopes)
           IS NOT DISTINCT FROM
           (OLD.name, OLD.description, OLD.scopes) THEN
            RETURN NEW;
        END IF;
        NEW.version := extauthz_next_version(OLD.version);
        RETURN NEW;
    END IF;
    NEW.version := nextval('change_version');
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION extauthz_key_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (version, kind, prefix, key_id, user_id)
            VALUES (extauthz_next_version(OLD.version), 1, OLD.key_prefix, OLD.id, OLD.user_id);
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
CREATE OR REPLACE FUNCTION extauthz_role_changed() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (version, kind, role) VALUES (extauthz_next_version(OLD.version), 2, OLD.name);
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
UPDATE api_keys SET shadow_end = shadow_until WHERE shadow_until IS NOT NULL;
