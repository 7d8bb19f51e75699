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
