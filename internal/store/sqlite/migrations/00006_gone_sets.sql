-- +goose Up

-- Whether readers have ever seen a set. One that they see no more is gone, and
-- differs from one that was never finished.
ALTER TABLE backup_sets ADD COLUMN shown INTEGER NOT NULL DEFAULT 0;
UPDATE backup_sets SET shown = 1 WHERE id IN
	(SELECT backup_set FROM copies WHERE state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED', 'EXPIRED'));

-- +goose StatementBegin
CREATE TRIGGER copies_shown AFTER INSERT ON copies
WHEN NEW.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED', 'EXPIRED')
BEGIN
	UPDATE backup_sets SET shown = 1 WHERE id = NEW.backup_set AND shown = 0;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER copies_shown_changed AFTER UPDATE OF state ON copies
WHEN NEW.state IN ('COMPLETE', 'VERIFIED', 'DAMAGED', 'UNCONFIRMED', 'EXPIRED')
BEGIN
	UPDATE backup_sets SET shown = 1 WHERE id = NEW.backup_set AND shown = 0;
END;
-- +goose StatementEnd

CREATE INDEX backup_sets_shown_site ON backup_sets (account, site, id) WHERE shown = 1;
CREATE INDEX backup_sets_shown_job ON backup_sets (account, job, id) WHERE shown = 1;
