-- +goose Up

-- What an execution of an ETL has started with: of each that has started, and has not
-- ended. Its secrets are sealed, as those of its job are.
CREATE TABLE etl_starts (
	execution  INTEGER PRIMARY KEY,
	etl        TEXT NOT NULL, -- JSON, as of a job
	definition TEXT NOT NULL,
	servers    TEXT NOT NULL  -- JSON, by site
);

-- Those that are under way go on with what their jobs do now.
INSERT INTO etl_starts (execution, etl, definition, servers)
SELECT e.id, j.etl, j.definition, (
	SELECT json_group_object (CAST (s.id AS TEXT), json_object (
		'Host', s.server_host, 'Port', s.server_port, 'User', s.server_user, 'Database', s.database, 'SSLMode', s.ssl_mode))
	FROM json_each (j.etl, '$.sites') named JOIN sites s ON s.id = named.value)
FROM executions e JOIN jobs j ON j.id = e.job
WHERE e.type = 'ETL' AND e.state <> 'ENDED' AND e.started IS NOT NULL AND j.etl IS NOT NULL AND j.definition IS NOT NULL;

-- +goose StatementBegin
CREATE TRIGGER executions_etl_start_ends AFTER UPDATE OF state ON executions
WHEN NEW.type = 'ETL' AND NEW.state = 'ENDED'
BEGIN
	DELETE FROM etl_starts WHERE execution = NEW.id;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_etl_start_gone AFTER DELETE ON executions
WHEN OLD.type = 'ETL'
BEGIN
	DELETE FROM etl_starts WHERE execution = OLD.id;
END;
-- +goose StatementEnd
