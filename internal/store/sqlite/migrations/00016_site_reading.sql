-- +goose Up

ALTER TABLE sites ADD COLUMN reading TEXT NOT NULL DEFAULT 'trust'; -- trust, read-all
ALTER TABLE sites ADD COLUMN compression TEXT NOT NULL DEFAULT 'default'; -- fastest, default, max, off
