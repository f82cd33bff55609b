-- +goose Up
ALTER TABLE api_keys ADD COLUMN shadow_until DATETIME; -- end of the key's shadow mode; it is part of what raises the version
DROP TRIGGER api_keys_updated;
-- +goose StatementBegin
CREATE TRIGGER api_keys_updated AFTER UPDATE ON api_keys
WHEN NOT (SELECT stamping FROM change_seq) AND (
      (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
       OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
       OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants, OLD.shadow_until)
      IS NOT (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
       NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
       NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants, NEW.shadow_until)
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
