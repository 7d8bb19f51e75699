-- +goose Up

-- What came last of an ETL: a planned execution has a lower id than those that were
-- asked for while it waited for its time.
DROP INDEX executions_etl_started;
CREATE INDEX executions_etl_started ON executions (job, started, id) WHERE type = 'ETL' AND started IS NOT NULL;
CREATE INDEX executions_etl_ended ON executions (job, ended, id) WHERE type = 'ETL' AND state = 'ENDED';
