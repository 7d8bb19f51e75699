-- +goose Up

ALTER TABLE repositories ADD COLUMN access BLOB; -- to the object store, sealed with the master key; null: a directory
