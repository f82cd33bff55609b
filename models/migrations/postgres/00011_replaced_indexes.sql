-- +goose NO TRANSACTION
-- +goose Up
-- Apart from 00010, which may be cut off and begin again: prefixes are unique at every moment.
SET statement_timeout = 0;
SET lock_timeout = 0;
DROP INDEX CONCURRENTLY IF EXISTS api_keys_key_prefix;
DROP INDEX CONCURRENTLY IF EXISTS api_keys_user_id;
RESET statement_timeout;
RESET lock_timeout;
