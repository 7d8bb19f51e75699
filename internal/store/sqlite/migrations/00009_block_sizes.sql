-- +goose Up

-- Blocks of 8192 jobs and of 16384 sets: a list of many sites adds up the blocks
-- of each, and had too many.
DROP TRIGGER jobs_counted;
DROP TRIGGER jobs_counted_again;
DROP TRIGGER jobs_uncounted;
DELETE FROM job_blocks;
INSERT INTO job_blocks (account, site, block, type, engine, active, n)
SELECT account, site, id / 8192, type, engine, active, count (*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6;
INSERT INTO job_blocks (account, site, block, type, engine, active, n)
SELECT account, 0, id / 8192, type, engine, active, count (*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

-- +goose StatementBegin
CREATE TRIGGER jobs_counted AFTER INSERT ON jobs
WHEN NEW.deleted IS NULL
BEGIN
	INSERT INTO job_blocks (account, site, block, type, engine, active, n)
	VALUES (NEW.account, NEW.site, NEW.id / 8192, NEW.type, NEW.engine, NEW.active, 1), (NEW.account, 0, NEW.id / 8192, NEW.type, NEW.engine, NEW.active, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_counted_again AFTER UPDATE OF account, site, type, engine, active, deleted ON jobs
WHEN (NEW.account, NEW.site, NEW.type, NEW.engine, NEW.active, NEW.deleted IS NULL)
	<> (OLD.account, OLD.site, OLD.type, OLD.engine, OLD.active, OLD.deleted IS NULL)
BEGIN
	UPDATE job_blocks SET n = n - 1
	WHERE OLD.deleted IS NULL AND account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 8192
		AND type = OLD.type AND engine = OLD.engine AND active = OLD.active;
	INSERT INTO job_blocks (account, site, block, type, engine, active, n)
	SELECT NEW.account, s.value, NEW.id / 8192, NEW.type, NEW.engine, NEW.active, 1 FROM json_each (json_array (0, NEW.site)) s WHERE NEW.deleted IS NULL
	ON CONFLICT DO UPDATE SET n = n + 1;
	DELETE FROM job_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 8192 AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_uncounted AFTER DELETE ON jobs
WHEN OLD.deleted IS NULL
BEGIN
	UPDATE job_blocks SET n = n - 1
	WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 8192 AND type = OLD.type AND engine = OLD.engine AND active = OLD.active;
	DELETE FROM job_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 8192 AND n = 0;
END;
-- +goose StatementEnd

DROP TRIGGER sets_counted;
DROP TRIGGER sets_counted_again;
DROP TRIGGER sets_uncounted;
DELETE FROM set_blocks;
INSERT INTO set_blocks (account, site, block, readable, n)
SELECT account, site, id / 16384, readable > 0, count (*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4;
INSERT INTO set_blocks (account, site, block, readable, n)
SELECT account, 0, id / 16384, readable > 0, count (*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4;

-- +goose StatementBegin
CREATE TRIGGER sets_counted AFTER INSERT ON backup_sets
WHEN NEW.shown = 1
BEGIN
	INSERT INTO set_blocks (account, site, block, readable, n)
	VALUES (NEW.account, NEW.site, NEW.id / 16384, NEW.readable > 0, 1), (NEW.account, 0, NEW.id / 16384, NEW.readable > 0, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER sets_counted_again AFTER UPDATE OF account, site, shown, readable ON backup_sets
WHEN (NEW.account, NEW.site, NEW.shown, NEW.readable > 0) <> (OLD.account, OLD.site, OLD.shown, OLD.readable > 0)
BEGIN
	UPDATE set_blocks SET n = n - 1
	WHERE OLD.shown = 1 AND account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 16384 AND readable = (OLD.readable > 0);
	INSERT INTO set_blocks (account, site, block, readable, n)
	SELECT NEW.account, s.value, NEW.id / 16384, NEW.readable > 0, 1 FROM json_each (json_array (0, NEW.site)) s WHERE NEW.shown = 1
	ON CONFLICT DO UPDATE SET n = n + 1;
	DELETE FROM set_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 16384 AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER sets_uncounted AFTER DELETE ON backup_sets
WHEN OLD.shown = 1
BEGIN
	UPDATE set_blocks SET n = n - 1
	WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 16384 AND readable = (OLD.readable > 0);
	DELETE FROM set_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 16384 AND n = 0;
END;
-- +goose StatementEnd
