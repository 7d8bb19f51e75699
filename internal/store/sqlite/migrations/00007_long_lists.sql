-- +goose Up

-- Lists of a million rows: each says how many there are and begins anywhere,
-- and none walks through what it does not show.

-- Executions. The totals have one more row, with job 0 and site 0, for each type;
-- and what the account has of a type is found with all that a filter looks at.
INSERT INTO execution_totals (account, job, site, type, n)
SELECT account, 0, 0, type, sum (n) FROM execution_totals WHERE job = 0 GROUP BY account, type;

DROP TRIGGER executions_counted;
-- +goose StatementBegin
CREATE TRIGGER executions_counted AFTER INSERT ON executions
BEGIN
	INSERT INTO execution_totals (account, job, site, type, n)
	VALUES (NEW.account, NEW.job, NEW.site, NEW.type, 1), (NEW.account, 0, NEW.site, NEW.type, 1), (NEW.account, 0, 0, NEW.type, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

DROP INDEX executions_account;
CREATE INDEX executions_kind ON executions (account, type, id, site, job, ended);

-- When the executions of each 1024 ids ended: none before first, none after last.
-- Those that have not ended do not count.
CREATE TABLE execution_ends (
	block INTEGER PRIMARY KEY, -- id / 1024
	first INTEGER NOT NULL,
	last  INTEGER NOT NULL
);
INSERT INTO execution_ends (block, first, last)
SELECT id / 1024, min (ended), max (ended) FROM executions WHERE ended IS NOT NULL GROUP BY id / 1024;

-- +goose StatementBegin
CREATE TRIGGER executions_made_ended AFTER INSERT ON executions
WHEN NEW.ended IS NOT NULL
BEGIN
	INSERT INTO execution_ends (block, first, last) VALUES (NEW.id / 1024, NEW.ended, NEW.ended)
	ON CONFLICT DO UPDATE SET first = min (first, NEW.ended), last = max (last, NEW.ended);
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_end AFTER UPDATE OF ended ON executions
WHEN NEW.ended IS NOT OLD.ended
BEGIN
	INSERT INTO execution_ends (block, first, last) SELECT NEW.id / 1024, NEW.ended, NEW.ended WHERE NEW.ended IS NOT NULL
	ON CONFLICT DO UPDATE SET first = min (first, NEW.ended), last = max (last, NEW.ended);
	UPDATE restores SET ended = NEW.ended WHERE id = NEW.id AND job IN (SELECT job FROM executions WHERE id = NEW.parent);
END;
-- +goose StatementEnd

-- The restores of what a job made, with all that a filter looks at.
DROP TRIGGER executions_uncounted;
DROP TRIGGER executions_restore;
DROP TRIGGER executions_restore_changed;
DROP TABLE restores;
CREATE TABLE restores (
	job     INTEGER NOT NULL, -- the parent's
	id      INTEGER NOT NULL, -- of the restore's execution; and the rest is the restore's, too
	account INTEGER NOT NULL,
	site    INTEGER NOT NULL,
	own     INTEGER NOT NULL, -- its job
	ended   INTEGER,
	PRIMARY KEY (job, id)
) WITHOUT ROWID;
INSERT INTO restores (job, id, account, site, own, ended)
SELECT p.job, e.id, e.account, e.site, e.job, e.ended FROM executions e JOIN executions p ON p.id = e.parent WHERE e.type = 'RESTORE';

-- +goose StatementBegin
CREATE TRIGGER executions_restore AFTER INSERT ON executions
WHEN NEW.type = 'RESTORE' AND NEW.parent IS NOT NULL
BEGIN
	INSERT INTO restores (job, id, account, site, own, ended)
	SELECT job, NEW.id, NEW.account, NEW.site, NEW.job, NEW.ended FROM executions WHERE id = NEW.parent;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_restore_changed AFTER UPDATE OF parent ON executions
WHEN NEW.type = 'RESTORE' AND NEW.parent IS NOT OLD.parent
BEGIN
	DELETE FROM restores WHERE id = OLD.id AND job IN (SELECT job FROM executions WHERE id = OLD.parent);
	INSERT INTO restores (job, id, account, site, own, ended)
	SELECT job, NEW.id, NEW.account, NEW.site, NEW.job, NEW.ended FROM executions WHERE id = NEW.parent;
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_uncounted AFTER DELETE ON executions
BEGIN
	UPDATE execution_totals SET n = n - 1
	WHERE account = OLD.account AND type = OLD.type AND (job IN (0, OLD.job) AND site = OLD.site OR job = 0 AND site = 0);
	DELETE FROM restores WHERE id = OLD.id AND job IN (SELECT job FROM executions WHERE id = OLD.parent);
	DELETE FROM restores WHERE job = OLD.job AND id IN (SELECT id FROM executions WHERE parent = OLD.id);
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- Jobs that are not deleted. job_blocks has how many there are among each 256
-- ids: of each site, and with site 0 of the account.
DROP INDEX jobs_account;
DROP INDEX jobs_site;
CREATE INDEX jobs_account ON jobs (account, id, site, type, engine, active) WHERE deleted IS NULL;
CREATE INDEX jobs_site ON jobs (account, site, id, type, engine, active) WHERE deleted IS NULL;
CREATE INDEX jobs_called ON jobs (account, lower (name), site, id) WHERE deleted IS NULL;
CREATE INDEX jobs_repository ON jobs (account, repository, site) WHERE deleted IS NULL AND repository IS NOT NULL;

CREATE TABLE job_blocks (
	account INTEGER NOT NULL,
	site    INTEGER NOT NULL,
	block   INTEGER NOT NULL, -- id / 256
	type    TEXT    NOT NULL,
	engine  TEXT    NOT NULL,
	active  INTEGER NOT NULL,
	n       INTEGER NOT NULL,
	PRIMARY KEY (account, site, block, type, engine, active)
) WITHOUT ROWID;
INSERT INTO job_blocks (account, site, block, type, engine, active, n)
SELECT account, site, id / 256, type, engine, active, count (*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6;
INSERT INTO job_blocks (account, site, block, type, engine, active, n)
SELECT account, 0, id / 256, type, engine, active, count (*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

-- +goose StatementBegin
CREATE TRIGGER jobs_counted AFTER INSERT ON jobs
WHEN NEW.deleted IS NULL
BEGIN
	INSERT INTO job_blocks (account, site, block, type, engine, active, n)
	VALUES (NEW.account, NEW.site, NEW.id / 256, NEW.type, NEW.engine, NEW.active, 1), (NEW.account, 0, NEW.id / 256, NEW.type, NEW.engine, NEW.active, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_counted_again AFTER UPDATE OF account, site, type, engine, active, deleted ON jobs
WHEN (NEW.account, NEW.site, NEW.type, NEW.engine, NEW.active, NEW.deleted IS NULL)
	<> (OLD.account, OLD.site, OLD.type, OLD.engine, OLD.active, OLD.deleted IS NULL)
BEGIN
	UPDATE job_blocks SET n = n - 1
	WHERE OLD.deleted IS NULL AND account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 256
		AND type = OLD.type AND engine = OLD.engine AND active = OLD.active;
	INSERT INTO job_blocks (account, site, block, type, engine, active, n)
	SELECT NEW.account, s.value, NEW.id / 256, NEW.type, NEW.engine, NEW.active, 1 FROM json_each (json_array (0, NEW.site)) s WHERE NEW.deleted IS NULL
	ON CONFLICT DO UPDATE SET n = n + 1;
	DELETE FROM job_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 256 AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER jobs_uncounted AFTER DELETE ON jobs
WHEN OLD.deleted IS NULL
BEGIN
	UPDATE job_blocks SET n = n - 1
	WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 256 AND type = OLD.type AND engine = OLD.engine AND active = OLD.active;
	DELETE FROM job_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 256 AND n = 0;
END;
-- +goose StatementEnd

-- Sets that readers see or saw once, in the same way, among each 4096 ids.
CREATE INDEX backup_sets_shown ON backup_sets (account, id) WHERE shown = 1;
CREATE TABLE set_blocks (
	account  INTEGER NOT NULL,
	site     INTEGER NOT NULL,
	block    INTEGER NOT NULL, -- id / 4096
	readable INTEGER NOT NULL, -- 1: by now, 0: no more
	n        INTEGER NOT NULL,
	PRIMARY KEY (account, site, block, readable)
) WITHOUT ROWID;
INSERT INTO set_blocks (account, site, block, readable, n)
SELECT account, site, id / 4096, readable > 0, count (*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4;
INSERT INTO set_blocks (account, site, block, readable, n)
SELECT account, 0, id / 4096, readable > 0, count (*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4;

-- +goose StatementBegin
CREATE TRIGGER sets_counted AFTER INSERT ON backup_sets
WHEN NEW.shown = 1
BEGIN
	INSERT INTO set_blocks (account, site, block, readable, n)
	VALUES (NEW.account, NEW.site, NEW.id / 4096, NEW.readable > 0, 1), (NEW.account, 0, NEW.id / 4096, NEW.readable > 0, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER sets_counted_again AFTER UPDATE OF account, site, shown, readable ON backup_sets
WHEN (NEW.account, NEW.site, NEW.shown, NEW.readable > 0) <> (OLD.account, OLD.site, OLD.shown, OLD.readable > 0)
BEGIN
	UPDATE set_blocks SET n = n - 1
	WHERE OLD.shown = 1 AND account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 4096 AND readable = (OLD.readable > 0);
	INSERT INTO set_blocks (account, site, block, readable, n)
	SELECT NEW.account, s.value, NEW.id / 4096, NEW.readable > 0, 1 FROM json_each (json_array (0, NEW.site)) s WHERE NEW.shown = 1
	ON CONFLICT DO UPDATE SET n = n + 1;
	DELETE FROM set_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 4096 AND n = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER sets_uncounted AFTER DELETE ON backup_sets
WHEN OLD.shown = 1
BEGIN
	UPDATE set_blocks SET n = n - 1
	WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 4096 AND readable = (OLD.readable > 0);
	DELETE FROM set_blocks WHERE account = OLD.account AND site IN (0, OLD.site) AND block = OLD.id / 4096 AND n = 0;
END;
-- +goose StatementEnd

-- Events of a site, which only ever grow.
DROP INDEX events_site;
CREATE INDEX events_site ON events (account, site, id) WHERE site IS NOT NULL;
CREATE TABLE event_totals (
	account INTEGER NOT NULL,
	site    INTEGER NOT NULL,
	n       INTEGER NOT NULL,
	PRIMARY KEY (account, site)
) WITHOUT ROWID;
INSERT INTO event_totals (account, site, n) SELECT account, site, count (*) FROM events WHERE site IS NOT NULL AND account IS NOT NULL GROUP BY account, site;
-- +goose StatementBegin
CREATE TRIGGER events_counted AFTER INSERT ON events
WHEN NEW.site IS NOT NULL AND NEW.account IS NOT NULL
BEGIN
	INSERT INTO event_totals (account, site, n) VALUES (NEW.account, NEW.site, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- Credentials are listed without the sessions, of which there may be many.
DROP INDEX credentials_account;
CREATE INDEX credentials_account ON credentials (account, kind, id);

-- Hosts, sites and repositories are read with almost every request and change
-- seldom: while this number is the same, so are they.
ALTER TABLE installation ADD COLUMN directory INTEGER NOT NULL DEFAULT 1;
-- +goose StatementBegin
CREATE TRIGGER hosts_inserted AFTER INSERT ON hosts BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER hosts_updated AFTER UPDATE ON hosts BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER hosts_deleted AFTER DELETE ON hosts BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sites_inserted AFTER INSERT ON sites BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sites_updated AFTER UPDATE ON sites BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER sites_deleted AFTER DELETE ON sites BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_inserted AFTER INSERT ON repositories BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_updated AFTER UPDATE ON repositories BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE TRIGGER repositories_deleted AFTER DELETE ON repositories BEGIN UPDATE installation SET directory = directory + 1; END;
-- +goose StatementEnd
