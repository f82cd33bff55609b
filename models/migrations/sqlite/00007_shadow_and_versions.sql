-- +goose Up
-- Shadow mode: what the administrator who set it may grant, and the end that was given first.
-- A row that is in shadow mode already is not known to be within the grants of an administrator:
-- it softens nothing until its shadow mode is set again.
ALTER TABLE api_keys ADD COLUMN shadow_end DATETIME;
ALTER TABLE api_keys ADD COLUMN shadow_scopes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE extauthz_meta ADD COLUMN why TEXT NOT NULL DEFAULT ''; -- the epoch began
ALTER TABLE feed_marks ADD COLUMN version BIGINT NOT NULL DEFAULT 0; -- the last one that was given at the mark

-- Versions never go back: where the row is set back, it goes on beyond all
-- versions that were given, and another epoch begins. What the outbox holds bears
-- versions of the epoch that is over.
-- +goose StatementBegin
CREATE TRIGGER change_seq_set_back AFTER UPDATE OF value ON change_seq WHEN NEW.value IS NULL OR NEW.value < OLD.value BEGIN
    UPDATE change_seq SET value = max(OLD.value, (SELECT max(version) FROM
        (SELECT max(version) AS version FROM api_keys UNION ALL SELECT max(version) FROM roles UNION ALL SELECT max(version) FROM outbox UNION ALL SELECT max(version) FROM feed_marks UNION ALL SELECT 0)));
    DELETE FROM outbox;
    UPDATE extauthz_meta SET epoch = lower(hex(randomblob(16))), why = 'versions went back from ' || OLD.value || ' to ' || NEW.value || ': change_seq was set back' WHERE id = 1;
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER change_seq_kept BEFORE DELETE ON change_seq BEGIN
    SELECT RAISE(ABORT, 'change_seq holds the versions of all changes: it must not be deleted');
END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER change_seq_not_replaced BEFORE INSERT ON change_seq WHEN EXISTS (SELECT 1 FROM change_seq) BEGIN
    SELECT RAISE(ABORT, 'change_seq holds the versions of all changes: it must not be replaced');
END;
-- +goose StatementEnd

DROP TRIGGER api_keys_updated;
-- +goose StatementBegin
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
WHEN NOT (SELECT stamping FROM change_seq) AND (
      (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
       OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
       OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants, OLD.shadow_until, OLD.shadow_end, OLD.shadow_scopes)
      IS NOT (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
       NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
       NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants, NEW.shadow_until, NEW.shadow_end, NEW.shadow_scopes)
      OR OLD.version IS NOT NEW.version)
BEGIN
    UPDATE change_seq SET value = max(value, OLD.version) + 1, stamping = TRUE;
    UPDATE api_keys SET version = (SELECT value FROM change_seq) WHERE id = NEW.id;
    UPDATE change_seq SET stamping = FALSE;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, NEW.key_prefix, NEW.id, NEW.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, OLD.key_prefix, OLD.id, OLD.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq
        WHERE (OLD.key_prefix, OLD.id, OLD.user_id) IS NOT (NEW.key_prefix, NEW.id, NEW.user_id);
END;
-- +goose StatementEnd
DROP TRIGGER api_keys_deleted;
-- +goose StatementBegin
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys BEGIN
    UPDATE change_seq SET value = max(value, OLD.version) + 1;
    INSERT INTO outbox (version, kind, prefix, key_id, user_id, at)
        SELECT value, 1, OLD.key_prefix, OLD.id, OLD.user_id, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
DROP TRIGGER roles_updated;
-- +goose StatementBegin
CREATE TRIGGER roles_updated AFTER UPDATE ON roles
WHEN NOT (SELECT stamping FROM change_seq) AND (
      (OLD.name, OLD.description, OLD.scopes, OLD.version)
      IS NOT (NEW.name, NEW.description, NEW.scopes, NEW.version))
BEGIN
    UPDATE change_seq SET value = max(value, OLD.version) + 1, stamping = TRUE;
    UPDATE roles SET version = (SELECT value FROM change_seq) WHERE name = NEW.name;
    UPDATE change_seq SET stamping = FALSE;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, NEW.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, OLD.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq WHERE OLD.name IS NOT NEW.name;
END;
-- +goose StatementEnd
DROP TRIGGER roles_deleted;
-- +goose StatementBegin
CREATE TRIGGER roles_deleted AFTER DELETE ON roles BEGIN
    UPDATE change_seq SET value = max(value, OLD.version) + 1;
    INSERT INTO outbox (version, kind, role, at)
        SELECT value, 2, OLD.name, strftime('%Y-%m-%d %H:%M:%f+00:00', 'now') FROM change_seq;
END;
-- +goose StatementEnd
UPDATE api_keys SET shadow_end = shadow_until WHERE shadow_until IS NOT NULL;
