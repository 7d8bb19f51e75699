-- +goose Up

-- An index serves a query alone only when it knows every column that the query
-- names, also those of its own condition.
DROP INDEX jobs_account;
DROP INDEX jobs_site;
DROP INDEX jobs_called;
CREATE INDEX jobs_account ON jobs (account, id, site, type, engine, active, deleted) WHERE deleted IS NULL;
CREATE INDEX jobs_site ON jobs (account, site, id, type, engine, active, deleted) WHERE deleted IS NULL;
CREATE INDEX jobs_called ON jobs (account, lower (name), site, id, deleted) WHERE deleted IS NULL;
DROP INDEX backup_sets_readable;
DROP INDEX backup_sets_readable_site;
DROP INDEX backup_sets_readable_job;
CREATE INDEX backup_sets_readable ON backup_sets (account, id, readable) WHERE readable > 0;
CREATE INDEX backup_sets_readable_site ON backup_sets (account, site, id, readable) WHERE readable > 0;
CREATE INDEX backup_sets_readable_job ON backup_sets (account, job, id, readable) WHERE readable > 0;

-- The schedules of an account, in the order in which they are listed.
CREATE INDEX schedules_account ON schedules (account, job, id);
