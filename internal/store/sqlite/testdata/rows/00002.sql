-- Rows of what the second schema added.
UPDATE accounts SET aliases = '["t1"]' WHERE id = 1002;
INSERT INTO credentials (account, principal, kind, name, hash, role, sites, hosts, pools, created, public_key, parent, idle) VALUES
	(1001, 1001, 'PASSWORD', '', x'02', 'admin', '[]', '[]', '[]', 1700000000000031, NULL, NULL, 0),
	(1001, 1001, 'SESSION', '', x'03', 'admin', '[]', '[]', '[]', 1700000000000032, NULL, 1003, 60000000),
	(1001, 1001, 'KEY', 'k', x'04', 'admin', '[]', '[]', '[]', 1700000000000033, x'3082', NULL, 0);
INSERT INTO used_proofs (hash, until) VALUES (x'05', 1900000000000000);
INSERT INTO schedules (account, job, expression, time_zone, run_type, active, next_run, created, changed) VALUES
	(1001, 1001, '0 2 * * *', 'Europe/Berlin', 'DELTA', 1, 1900000000000000, 1700000000000034, 1700000000000035);
INSERT INTO submissions (account, principal, dialect, idempotency_key, time, request) VALUES (1001, 1001, 'commvault', '', 1700000000000036, '{"a":1}');
INSERT INTO executions (account, site, job, job_name, submission, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts, retries,
	hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, due, abort_after, request, beat, progress, stored_size, ended,
	schedule, actor) VALUES
	(1001, 1001, 1001, 'nightly', 1003, 'BACKUP', 'pgphysical', '', 1700000000000037, 'ENDED', 0, 'SUCCEEDED', '', 1, 0, 0, 0, '', 'FULL', 'FULL', '', 5,
		'default', 1001, 1001, 0, 0, '', 0, '{}', 7, 1700000000000038, 1001, 'scheduler');
