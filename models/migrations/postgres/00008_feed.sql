-- +goose Up
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
-- Pages of the feed are read in this order.
CREATE INDEX outbox_place ON outbox (xid, id);
DROP INDEX outbox_xid;
-- What a reader at the mark has seen: pg_current_snapshot(). '' in marks of a program that
-- knows places alone: whatever is committed after at has this place or a higher one.
ALTER TABLE feed_marks ADD COLUMN snapshot TEXT NOT NULL DEFAULT '';
