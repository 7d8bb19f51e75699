-- A trigger that backs up after the ETL, and what it has made.
INSERT INTO triggers (account, job, run, outcome, run_type, active, created) VALUES (1001, 1005, 1001, 'DONE', 'DELTA', 1, 1700000000000045);
UPDATE executions SET cause = 1006 WHERE id = 1007;
