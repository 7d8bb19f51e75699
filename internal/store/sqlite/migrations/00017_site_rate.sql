-- +goose Up

ALTER TABLE sites ADD COLUMN bytes_per_sec INTEGER NOT NULL DEFAULT 0; -- of one execution; 0: no limit
