-- The execution of the ETL has started before, and waits for another start.
UPDATE executions SET started = 1700000000000046 WHERE job = 1005;
