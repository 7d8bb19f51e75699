-- +goose Up

ALTER TABLE accounts ADD COLUMN aliases TEXT NOT NULL DEFAULT '[]'; -- JSON

ALTER TABLE credentials ADD COLUMN public_key BLOB;                 -- PKIX, DER
ALTER TABLE credentials ADD COLUMN parent INTEGER REFERENCES credentials (id);
ALTER TABLE credentials ADD COLUMN idle INTEGER NOT NULL DEFAULT 0; -- microseconds; 0: never

-- Proofs that may be used once, until they would have expired anyway.
CREATE TABLE used_proofs (
	hash  BLOB    PRIMARY KEY,
	until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_proofs_until ON used_proofs (until);

CREATE TABLE schedules (
	id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account    INTEGER NOT NULL REFERENCES accounts (id),
	job        INTEGER NOT NULL REFERENCES jobs (id),
	expression TEXT    NOT NULL,
	time_zone  TEXT    NOT NULL,
	run_type   TEXT    NOT NULL,
	active     INTEGER NOT NULL,
	next_run   INTEGER,
	created    INTEGER,
	changed    INTEGER
);
CREATE INDEX schedules_job ON schedules (job, id);
CREATE INDEX schedules_due ON schedules (next_run, id) WHERE next_run IS NOT NULL;
CREATE INDEX schedules_next ON schedules (job, next_run) WHERE next_run IS NOT NULL;
INSERT INTO sqlite_sequence (name, seq) VALUES ('schedules', 1000);

ALTER TABLE submissions ADD COLUMN request TEXT; -- JSON, without secrets

ALTER TABLE executions ADD COLUMN schedule INTEGER;
ALTER TABLE executions ADD COLUMN actor TEXT NOT NULL DEFAULT '';
