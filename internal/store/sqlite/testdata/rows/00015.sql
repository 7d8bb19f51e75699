-- A repository in an object store.
INSERT INTO repositories (account, name, location, format_id, password, access, max_running, created) VALUES
	(1001, 'far', 's3:https://s3.example.com/bucket/main', 'def', x'0901', x'0900ff', 0, 1700000000000050);
