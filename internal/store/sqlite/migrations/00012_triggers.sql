-- +goose Up

CREATE TABLE triggers (
	id       INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account  INTEGER NOT NULL REFERENCES accounts (id),
	job      INTEGER NOT NULL REFERENCES jobs (id), -- whose executions it waits for
	run      INTEGER NOT NULL REFERENCES jobs (id), -- that it runs
	outcome  TEXT    NOT NULL,                      -- that it waits for
	run_type TEXT    NOT NULL,                      -- empty for an ETL
	active   INTEGER NOT NULL,
	created  INTEGER
);
CREATE INDEX triggers_job ON triggers (job, id);
CREATE INDEX triggers_run ON triggers (run, id);
INSERT INTO sqlite_sequence (name, seq) VALUES ('triggers', 1000);

ALTER TABLE executions ADD COLUMN cause INTEGER; -- the execution whose good end made it
