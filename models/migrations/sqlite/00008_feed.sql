-- +goose Up
-- What a reader at the mark has seen, written as Postgres writes a snapshot. '' in marks of a
-- program that knows places alone: whatever is committed after at has a higher version.
ALTER TABLE feed_marks ADD COLUMN snapshot TEXT NOT NULL DEFAULT '';
