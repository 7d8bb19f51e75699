-- +goose Up

-- The order in which executions of an ETL started for the first time, and ended: their
-- times follow the clock, which may be set back.
CREATE TABLE etl_turns (
	job       INTEGER NOT NULL,
	event     TEXT    NOT NULL CHECK (event IN ('started', 'ended')),
	turn      INTEGER NOT NULL,
	execution INTEGER NOT NULL,
	PRIMARY KEY (job, event, turn)
) WITHOUT ROWID;
INSERT INTO etl_turns (job, event, turn, execution)
SELECT job, 'started', row_number() OVER (PARTITION BY job ORDER BY started, id), id FROM executions WHERE type = 'ETL' AND started IS NOT NULL;
INSERT INTO etl_turns (job, event, turn, execution)
SELECT job, 'ended', row_number() OVER (PARTITION BY job ORDER BY ended, id), id FROM executions WHERE type = 'ETL' AND state = 'ENDED';

DROP INDEX executions_etl_started;
DROP INDEX executions_etl_ended;

-- +goose StatementBegin
CREATE TRIGGER executions_etl_starts AFTER UPDATE OF started ON executions
WHEN NEW.type = 'ETL' AND OLD.started IS NULL AND NEW.started IS NOT NULL
BEGIN
	INSERT INTO etl_turns (job, event, turn, execution)
	SELECT NEW.job, 'started', coalesce(max(turn), 0) + 1, NEW.id FROM etl_turns WHERE job = NEW.job AND event = 'started';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_etl_ends AFTER UPDATE OF state ON executions
WHEN NEW.type = 'ETL' AND OLD.state <> 'ENDED' AND NEW.state = 'ENDED'
BEGIN
	INSERT INTO etl_turns (job, event, turn, execution)
	SELECT NEW.job, 'ended', coalesce(max(turn), 0) + 1, NEW.id FROM etl_turns WHERE job = NEW.job AND event = 'ended';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_etl_put AFTER INSERT ON executions
WHEN NEW.type = 'ETL' AND (NEW.started IS NOT NULL OR NEW.state = 'ENDED')
BEGIN
	INSERT INTO etl_turns (job, event, turn, execution)
	SELECT NEW.job, 'started', coalesce(max(turn), 0) + 1, NEW.id FROM etl_turns WHERE job = NEW.job AND event = 'started'
	HAVING NEW.started IS NOT NULL;
	INSERT INTO etl_turns (job, event, turn, execution)
	SELECT NEW.job, 'ended', coalesce(max(turn), 0) + 1, NEW.id FROM etl_turns WHERE job = NEW.job AND event = 'ended'
	HAVING NEW.state = 'ENDED';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_etl_gone AFTER DELETE ON executions
WHEN OLD.type = 'ETL'
BEGIN
	DELETE FROM etl_turns WHERE job = OLD.job AND execution = OLD.id;
END;
-- +goose StatementEnd
