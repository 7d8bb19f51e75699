-- +goose Up

-- Whose history an event belongs to; NULL: the account's. Older events say it in
-- their data, if at all, and are found by their account.
ALTER TABLE events ADD COLUMN site INTEGER;
CREATE INDEX events_site ON events (site, id) WHERE site IS NOT NULL;
