-- A service ETL, and an execution of it.
INSERT INTO jobs (account, site, type, engine, name, description, active, priority, retention_unit, retention_count, auto_abort_active, auto_abort_after,
	created, etl, definition) VALUES
	(1001, 1001, 'ETL', 'etl', 'orders', '', 1, 5, '', 0, 0, 0, 1700000000000042,
	'{"service":true,"definition":"","sites":[1001],"configurations":[{"id":1001,"name":"Default","active":true,"properties":{"a":"ß"}}],
	"recurrence":{"start":"2026-03-01T12:00:00Z","period":3600000000000},"aborted":true}', 'name: orders');
INSERT INTO executions (account, site, job, job_name, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts, retries, hand_backs,
	detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, due, abort_after, request, beat, progress, stored_size, etl, service) VALUES
	(1001, 1001, 1005, 'orders', 'ETL', 'etl', '', 1700000000000043, 'QUEUED', 0, '', '', 0, 0, 0, 0, '', '', '', '', 5, 'default', 1001, 0,
	1700000000000044, 0, '', 0, '{"phase":"","done_bytes":0,"total_bytes":0,"done_files":0,"total_files":0,"added_bytes":0}', 0,
	'{"service":true,"properties":{"a":"2"},"version":1}', 1);
UPDATE installation SET run_configuration = 1001;
