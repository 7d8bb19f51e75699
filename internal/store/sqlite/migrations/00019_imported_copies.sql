-- +goose Up

-- The installation that wrote an imported copy: its snapshot says so, and is removed
-- only as that one's. Empty: this installation.
ALTER TABLE copies ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX copies_snapshot ON copies (snapshot, repository);
