-- +goose Up
-- Sequences beyond usage_marks.sequence that are added too, such as "7,9-12": batches of one source may arrive in any order.
ALTER TABLE usage_marks ADD COLUMN beyond TEXT NOT NULL DEFAULT '';
