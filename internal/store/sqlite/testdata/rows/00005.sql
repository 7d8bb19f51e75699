-- Events of a site.
INSERT INTO events (account, time, actor, dialect, subject, site, kind, data) VALUES
	(1001, 1700000000000039, 'ada', 'native', 'site 1001', 1001, 'site.created', '{}'), (1001, 1700000000000040, '', '', 'job 1001', 1001, 'job.created', '{}'),
	(1002, 1700000000000041, '', '', 'site 1002', 1002, 'site.created', NULL);
