-- Rows of every table as the first schema had them, which later ones must read
-- the same. Beside them are the organisation and the account that each
-- installation begins with.
UPDATE installation SET id = '00112233445566778899aabbccddeeff', created = 1700000000000000;
UPDATE organisations SET created = 1700000000000000;
UPDATE accounts SET created = 1700000000000000;
INSERT INTO organisations (name, created) VALUES ('acme', 1700000000000001);
INSERT INTO accounts (organisation, name, created) VALUES (1002, 'tenant', 1700000000000002);
INSERT INTO principals (account, kind, name, disabled, created) VALUES
	(1001, 'PERSON', 'ada', 0, 1700000000000003), (1002, 'SERVICE', 'script', 1, NULL);
INSERT INTO credentials (account, principal, kind, name, hash, role, sites, hosts, pools, created, expires, revoked, last_used) VALUES
	(1001, 1001, 'TOKEN', 'laptop', x'00ff', 'operator', '[1001]', '[]', '[]', 1700000000000004, 1800000000000000, NULL, 1700000000000005),
	(1002, 1002, 'JOIN', '', x'01', '', '[]', '[1002]', '["fast"]', 1700000000000006, NULL, 1700000000000007, NULL);
INSERT INTO hosts (account, name, address, created) VALUES (1001, 'db1', '192.0.2.1', 1700000000000008), (1002, 'db1', '', NULL);
INSERT INTO repositories (account, name, location, format_id, password, max_running, created) VALUES
	(1001, 'main', 'file:///backup', 'abc', x'0900', 2, 1700000000000009);
INSERT INTO sites (account, host, slug, name, server_host, server_port, server_user, database, ssl_mode, password, data_dir, pool, repository, max_running, created) VALUES
	(1001, 1001, 'berlin', 'Größe', '/run/postgresql', 5432, 'holdfast', 'postgres', 'prefer', x'01', '/data', 'default', 1001, 1, 1700000000000010),
	(1002, 1002, 'berlin', '', 'h', 1, '', '', '', NULL, '', 'fast', NULL, 0, NULL);
INSERT INTO jobs (account, site, type, engine, name, description, active, priority, repository, retention_unit, retention_count,
	auto_abort_active, auto_abort_after, restore, annotations, created, deleted) VALUES
	(1001, 1001, 'BACKUP', 'pgphysical', 'nightly', 'words', 1, 2, 1001, 'GENERATIONS', 7, 1, 3600000000, NULL, '{"baas":{"a":1}}', 1700000000000011, NULL),
	(1001, 1001, 'RESTORE', 'pgphysical', 'restore', '', 1, 5, NULL, '', 7, 0, 0, '{"set":1001,"directory":"/r"}', NULL, 1700000000000012, NULL),
	(1001, 1001, 'BACKUP', 'pgphysical', 'old', '', 0, 5, NULL, '', 7, 0, 0, NULL, NULL, 1700000000000013, 1700000000000014),
	(1002, 1002, 'BACKUP', 'pgphysical', 'nightly', '', 0, 5, NULL, '', 7, 0, 0, NULL, NULL, NULL, NULL);
INSERT INTO submissions (account, principal, dialect, idempotency_key, time) VALUES
	(1001, 1001, 'native', 'once', 1700000000000015), (1002, NULL, 'baasenterprise', '', NULL);
INSERT INTO executions (account, site, job, job_name, submission, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts, retries,
	hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, restore, due, abort_after, worker, request, beat, progress,
	backup_set, parent, result, started, restarted, wanted_at, ended, stored_size) VALUES
	(1001, 1001, 1001, 'nightly', 1001, 'BACKUP', 'pgphysical', 'n', 1700000000000016, 'ENDED', 0, 'SUCCEEDED', '', 1, 0, 0, 0, 'well', 'DELTA', 'FULL',
		'no base', 5, 'default', 1001, 1001, NULL, 0, 0, 1001, 'r1', 3, '{"phase":"done","done_bytes":5}', 1001, NULL, '{"ok":true}', 1700000000000017,
		1700000000000018, NULL, 1700000000000019, 1024),
	(1001, 1001, 1002, 'restore', NULL, 'RESTORE', 'pgphysical', '', 1700000000000020, 'ENDED', 3, 'KILLED', 'WISH', 2, 1, 0, 0, '', 'FULL', 'FULL', '', 5,
		'default', 1001, 0, '{"set":1001,"directory":"/r"}', 0, 0, NULL, '', 0, '{}', 1001, 1001, NULL, NULL, NULL, 1700000000000021, 1700000000000022, 0),
	(1001, 1001, 1003, 'old', NULL, 'BACKUP', 'pgphysical', '', 1700000000000023, 'ENDED', 0, 'FAILED', '', 1, 0, 0, 0, '', 'FULL', 'FULL', '', 5, 'default',
		1001, 1001, NULL, 0, 0, NULL, '', 0, '{}', NULL, NULL, NULL, NULL, NULL, NULL, 1700000000000024, 0),
	(1001, 1001, 1001, 'nightly', NULL, 'BACKUP', 'pgphysical', '', 1700000000000025, 'RUNNING', 0, '', '', 1, 0, 0, 0, '', 'FULL', 'FULL', '', 5, 'default',
		1001, 1001, NULL, 0, 0, 1001, 'r2', 1, '{}', NULL, NULL, NULL, 1700000000000026, NULL, NULL, NULL, 0),
	(1002, 1002, 1004, 'nightly', 1002, 'BACKUP', 'pgphysical', '', NULL, 'PLANNED', 0, '', '', 0, 0, 0, 0, '', '', '', '', 5, 'fast', 1002, 0, NULL,
		1900000000000000, 0, NULL, '', 0, '{}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0);
INSERT INTO backup_sets (account, site, job, execution, parent, engine, run_type, started, stopped, bytes, added, damaged, protected, system_identifier, version,
	timeline, start_lsn, stop_lsn, tablespaces, created) VALUES
	(1001, 1001, 1001, 1001, NULL, 'pgphysical', 'FULL', 1700000000000017, 1700000000000018, 99, 9, '', 1, -1, 170006, 1, 16777216, -2, '[{"oid":16400}]', 1700000000000019),
	(1001, 1001, 1003, 1003, NULL, 'pgphysical', 'FULL', NULL, NULL, 0, 0, 'a page', 0, 1, 170006, 1, 1, 2, '[]', NULL);
INSERT INTO copies (account, backup_set, repository, snapshot, state, execution, fence, intended, verified) VALUES
	(1001, 1001, 1001, 'cafe', 'COMPLETE', 1001, 1, 1700000000000018, 1700000000000027),
	(1001, 1002, 1001, 'beef', 'DELETED', 1003, 1, NULL, NULL);
INSERT INTO workers (name, key, seal_key, pools, hosts, slots, maintenance, version, created, seen, removed) VALUES
	('local', '', 'X', '["default"]', '[1001]', 4, 1, '1.0', 1700000000000028, 1700000000000029, NULL);
INSERT INTO events (account, time, actor, dialect, subject, kind, data) VALUES
	(1001, 1700000000000030, 'ada', 'native', 'host 1001', 'host.created', '{"name":"db1"}'), (NULL, NULL, '', '', '', 'started', NULL);
