-- +goose Up

-- Who invited a worker; NULL: the worker inside serve, which serves every account.
ALTER TABLE workers ADD COLUMN account INTEGER REFERENCES accounts (id);
UPDATE workers SET account = 1001 WHERE key <> '';

-- A name says nothing of another account's workers.
DROP INDEX workers_name;
CREATE UNIQUE INDEX workers_name ON workers (coalesce (account, 0), name) WHERE removed IS NULL;
