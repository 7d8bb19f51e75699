-- +goose Up

-- What an ETL does. Its definition may be long, and stands last in a column of its
-- own: who does not ask for it does not read it.
ALTER TABLE jobs ADD COLUMN etl TEXT;        -- JSON, without the definition
ALTER TABLE jobs ADD COLUMN definition TEXT; -- of an ETL

-- What is particular to an execution of an ETL.
ALTER TABLE executions ADD COLUMN etl TEXT;                            -- JSON
ALTER TABLE executions ADD COLUMN service INTEGER NOT NULL DEFAULT 0; -- 1: it is one of a service, and etl says so, too

-- The queue, in which services do not stand before what has other slots.
DROP INDEX executions_queued;
DROP INDEX executions_queued_group;
CREATE INDEX executions_queued ON executions (pool, host, service, priority, due, id) WHERE state = 'QUEUED';
CREATE INDEX executions_queued_group ON executions (pool, host, service, priority, job, site, repository, due, id) WHERE state = 'QUEUED';

-- What has ever started of an ETL: of what was cancelled before there may be any
-- number.
CREATE INDEX executions_etl_started ON executions (job, id) WHERE type = 'ETL' AND started IS NOT NULL;

-- The newest run configuration.
ALTER TABLE installation ADD COLUMN run_configuration INTEGER NOT NULL DEFAULT 1000;

-- The list of ETLs is read often and long, and kept in memory. changed is the value
-- that installation.etls had when the row was written last, so that only what has
-- changed since is read again.
ALTER TABLE installation ADD COLUMN etls INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_etl_changed ON jobs (account, changed) WHERE type = 'ETL';

-- +goose StatementBegin
CREATE TRIGGER jobs_etl_inserted AFTER INSERT ON jobs
WHEN NEW.type = 'ETL'
BEGIN
	UPDATE installation SET etls = etls + 1;
	UPDATE jobs SET changed = (SELECT etls FROM installation) WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_etl_updated AFTER UPDATE OF site, engine, name, description, active, priority, auto_abort_active, auto_abort_after, created, deleted, etl ON jobs
WHEN NEW.type = 'ETL'
BEGIN
	UPDATE installation SET etls = etls + 1;
	UPDATE jobs SET changed = (SELECT etls FROM installation) WHERE id = NEW.id;
END;
-- +goose StatementEnd

-- What is not seen among what has changed: no job goes, or becomes another.
-- +goose StatementBegin
CREATE TRIGGER jobs_etl_gone AFTER DELETE ON jobs
WHEN OLD.type = 'ETL'
BEGIN
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_etl_identity BEFORE UPDATE OF id, account, type ON jobs
WHEN (NEW.id, NEW.account, NEW.type) <> (OLD.id, OLD.account, OLD.type)
BEGIN
	SELECT RAISE (ABORT, 'what a job is never changes');
END;
-- +goose StatementEnd
