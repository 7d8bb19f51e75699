-- +goose Up

-- How many of a set's copies readers may see, as holdfast.Copy.Readable: most
-- sets of a long history are gone, and neither lists nor retentions look at them.
ALTER TABLE backup_sets ADD COLUMN readable INTEGER NOT NULL DEFAULT 0;
UPDATE backup_sets SET readable = (SELECT count(*) FROM copies c
	WHERE c.backup_set = backup_sets.id AND c.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED'));

-- +goose StatementBegin
CREATE TRIGGER copies_readable AFTER INSERT ON copies
WHEN NEW.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED')
BEGIN
	UPDATE backup_sets SET readable = readable + 1 WHERE id = NEW.backup_set;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER copies_readable_changed AFTER UPDATE OF state ON copies
WHEN (NEW.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED')) <> (OLD.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED'))
BEGIN
	UPDATE backup_sets SET readable = readable + CASE WHEN NEW.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED') THEN 1 ELSE -1 END
	WHERE id = NEW.backup_set;
END;
-- +goose StatementEnd

DROP INDEX backup_sets_account;
DROP INDEX backup_sets_job;
CREATE INDEX backup_sets_readable ON backup_sets (account, id) WHERE readable > 0;
CREATE INDEX backup_sets_readable_site ON backup_sets (account, site, id) WHERE readable > 0;
CREATE INDEX backup_sets_readable_job ON backup_sets (account, job, id) WHERE readable > 0;

-- What a retention must not take away from under a restore.
CREATE INDEX executions_restoring ON executions (account, id) WHERE type = 'RESTORE' AND state <> 'ENDED';
