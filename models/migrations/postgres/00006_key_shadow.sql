-- +goose Up
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
ALTER TABLE api_keys ADD COLUMN shadow_until TIMESTAMPTZ; -- end of the key's shadow mode; it is part of what raises the version
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION extauthz_key_version() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        NEW.version := OLD.version; -- one set by hand is overridden
        IF (NEW.id, NEW.user_id, NEW.name, NEW.key_prefix, NEW.key_hash, NEW.scopes, NEW.is_active, NEW.expires_at,
            NEW.hash_alg, NEW.pepper_id, NEW.environment, NEW.revoked_at, NEW.rotated_from, NEW.allowed_cidrs,
            NEW.metadata, NEW.rate, NEW.project, NEW.roles, NEW.family, NEW.grants, NEW.shadow_until)
           IS NOT DISTINCT FROM
           (OLD.id, OLD.user_id, OLD.name, OLD.key_prefix, OLD.key_hash, OLD.scopes, OLD.is_active, OLD.expires_at,
            OLD.hash_alg, OLD.pepper_id, OLD.environment, OLD.revoked_at, OLD.rotated_from, OLD.allowed_cidrs,
            OLD.metadata, OLD.rate, OLD.project, OLD.roles, OLD.family, OLD.grants, OLD.shadow_until) THEN
            RETURN NEW;
        END IF;
    END IF;
    NEW.version := nextval('change_version');
    RETURN NEW;
END $$;
-- +goose StatementEnd
