-- +goose Up
CREATE TABLE replicas ( -- who lives, so that each can hold its share of a key's rate
    instance TEXT PRIMARY KEY,
    at       TIMESTAMPTZ NOT NULL
);
