-- +goose NO TRANSACTION
-- +goose Up
-- Keys are made and revoked while these are built: each waits for the transactions that began before it. An attempt
-- that was cut off leaves an index that is not valid, which the next one drops. Limits are for the traffic.
SET statement_timeout = 0;
SET lock_timeout = 0;
-- Who administers, without reading all keys; see mayAdminister.
DROP INDEX CONCURRENTLY IF EXISTS api_keys_administrators;
CREATE INDEX CONCURRENTLY api_keys_administrators ON api_keys (id) WHERE scopes LIKE '%"extauthz%';
-- Names by their beginning, in any case.
DROP INDEX CONCURRENTLY IF EXISTS api_keys_name;
CREATE INDEX CONCURRENTLY api_keys_name ON api_keys (lower(name) text_pattern_ops, id);
-- Prefixes and users by their beginning. An index in the order of bytes serves equality too: these take the places of
-- those in the order of the database's collation, so that making a key writes one index more and not three.
DROP INDEX CONCURRENTLY IF EXISTS api_keys_prefix;
CREATE UNIQUE INDEX CONCURRENTLY api_keys_prefix ON api_keys (key_prefix text_pattern_ops);
DROP INDEX CONCURRENTLY IF EXISTS api_keys_user;
CREATE INDEX CONCURRENTLY api_keys_user ON api_keys (user_id text_pattern_ops, id);
RESET statement_timeout;
RESET lock_timeout;
