-- +goose Up
CREATE TABLE usage_marks ( -- how far the batches of one source are added to key_usage
    source   TEXT PRIMARY KEY,
    sequence BIGINT NOT NULL,
    at       DATETIME NOT NULL
);
