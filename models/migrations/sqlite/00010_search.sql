-- +goose Up
-- Who administers, without reading all keys; see mayAdminister.
CREATE INDEX api_keys_administrators ON api_keys (id) WHERE scopes LIKE '%"extauthz%';
-- Names by their beginning, in any case; prefixes and users have indexes that do.
CREATE INDEX api_keys_name ON api_keys (lower(name), id);
