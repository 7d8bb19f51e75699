-- +goose Up

-- The newest execution of each row of the totals, so that those of many jobs are
-- found without a look into the history of each.
ALTER TABLE execution_totals ADD COLUMN last INTEGER NOT NULL DEFAULT 0;
UPDATE execution_totals SET last = coalesce ((SELECT max (id) FROM executions e
	WHERE e.account = execution_totals.account AND e.job = execution_totals.job AND e.site = execution_totals.site AND e.type = execution_totals.type), 0)
WHERE job <> 0;

DROP TRIGGER executions_counted;
-- +goose StatementBegin
CREATE TRIGGER executions_counted AFTER INSERT ON executions
BEGIN
	INSERT INTO execution_totals (account, job, site, type, n, last)
	VALUES (NEW.account, NEW.job, NEW.site, NEW.type, 1, NEW.id), (NEW.account, 0, NEW.site, NEW.type, 1, 0), (NEW.account, 0, 0, NEW.type, 1, 0)
	ON CONFLICT DO UPDATE SET n = n + 1, last = max (last, excluded.last);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_last_gone AFTER DELETE ON executions
BEGIN
	UPDATE execution_totals SET last = coalesce ((SELECT max (id) FROM executions e
		WHERE e.account = OLD.account AND e.job = OLD.job AND e.site = OLD.site AND e.type = OLD.type), 0)
	WHERE account = OLD.account AND job = OLD.job AND site = OLD.site AND type = OLD.type AND last = OLD.id;
END;
-- +goose StatementEnd
