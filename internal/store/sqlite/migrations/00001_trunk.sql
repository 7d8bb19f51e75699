-- +goose Up

-- Times are integer microseconds of UTC; NULL is the zero time. Lists and specs
-- are JSON. Ids begin at 1001 (holdfast.FirstID) and end at 2^53 - 1
-- (holdfast.MaxID): AUTOINCREMENT never gives one out twice, and the rows in
-- sqlite_sequence at the end of this file say where it begins. A zero id of
-- something that need not be there is NULL.

PRAGMA application_id = 0x486f6c64; -- "Hold"

CREATE TABLE installation (
	one     INTEGER PRIMARY KEY CHECK (one = 1),
	id      TEXT    NOT NULL,
	epoch   INTEGER NOT NULL, -- rises when executions are not merely appended: positions known by heart are void
	created INTEGER NOT NULL
);

CREATE TABLE organisations (
	id      INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	name    TEXT    NOT NULL UNIQUE,
	created INTEGER
);

CREATE TABLE accounts (
	id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	organisation INTEGER NOT NULL REFERENCES organisations (id),
	name         TEXT    NOT NULL,
	created      INTEGER,
	UNIQUE (organisation, name)
);

CREATE TABLE principals (
	id       INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account  INTEGER NOT NULL REFERENCES accounts (id),
	kind     TEXT    NOT NULL,
	name     TEXT    NOT NULL,
	disabled INTEGER NOT NULL,
	created  INTEGER,
	UNIQUE (account, name)
);

CREATE TABLE credentials (
	id        INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account   INTEGER NOT NULL REFERENCES accounts (id),
	principal INTEGER NOT NULL REFERENCES principals (id),
	kind      TEXT    NOT NULL,
	name      TEXT    NOT NULL,
	hash      BLOB    NOT NULL UNIQUE,
	role      TEXT    NOT NULL,
	sites     TEXT    NOT NULL, -- JSON
	hosts     TEXT    NOT NULL, -- JSON
	pools     TEXT    NOT NULL, -- JSON
	created   INTEGER,
	expires   INTEGER,
	revoked   INTEGER,
	last_used INTEGER
);
CREATE INDEX credentials_account ON credentials (account, id);
CREATE INDEX credentials_principal ON credentials (principal);

CREATE TABLE hosts (
	id      INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account INTEGER NOT NULL REFERENCES accounts (id),
	name    TEXT    NOT NULL,
	address TEXT    NOT NULL,
	created INTEGER,
	UNIQUE (account, name)
);

CREATE TABLE repositories (
	id          INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account     INTEGER NOT NULL REFERENCES accounts (id),
	name        TEXT    NOT NULL,
	location    TEXT    NOT NULL,
	format_id   TEXT    NOT NULL,
	password    BLOB,             -- sealed
	max_running INTEGER NOT NULL, -- 0: no limit
	created     INTEGER,
	UNIQUE (account, name)
);

CREATE TABLE sites (
	id          INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account     INTEGER NOT NULL REFERENCES accounts (id),
	host        INTEGER NOT NULL REFERENCES hosts (id),
	slug        TEXT    NOT NULL,
	name        TEXT    NOT NULL,
	server_host TEXT    NOT NULL,
	server_port INTEGER NOT NULL,
	server_user TEXT    NOT NULL,
	database    TEXT    NOT NULL,
	ssl_mode    TEXT    NOT NULL,
	password    BLOB,             -- sealed
	data_dir    TEXT    NOT NULL,
	pool        TEXT    NOT NULL,
	repository  INTEGER REFERENCES repositories (id),
	max_running INTEGER NOT NULL, -- 0: no limit
	created     INTEGER,
	UNIQUE (account, slug)
);
CREATE INDEX sites_host ON sites (host);
CREATE INDEX sites_repository ON sites (repository);

-- A deleted job stays for its history, also after its site has gone: that is why
-- the site is no foreign key here, and is looked for when the job is made.
CREATE TABLE jobs (
	id                INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account           INTEGER NOT NULL REFERENCES accounts (id),
	site              INTEGER NOT NULL,
	type              TEXT    NOT NULL,
	engine            TEXT    NOT NULL,
	name              TEXT    NOT NULL,
	description       TEXT    NOT NULL,
	active            INTEGER NOT NULL,
	priority          INTEGER NOT NULL,
	repository        INTEGER, -- NULL: the site's default
	retention_unit    TEXT    NOT NULL,
	retention_count   INTEGER NOT NULL,
	auto_abort_active INTEGER NOT NULL,
	auto_abort_after  INTEGER NOT NULL, -- microseconds
	restore           TEXT,    -- JSON
	annotations       TEXT,    -- JSON
	created           INTEGER,
	deleted           INTEGER
);
CREATE UNIQUE INDEX jobs_name ON jobs (site, name) WHERE deleted IS NULL;
CREATE INDEX jobs_account ON jobs (account, id) WHERE deleted IS NULL;
CREATE INDEX jobs_site ON jobs (account, site, id) WHERE deleted IS NULL;

-- +goose StatementBegin
CREATE TRIGGER jobs_site_exists BEFORE INSERT ON jobs
WHEN NOT EXISTS (SELECT 1 FROM sites WHERE id = NEW.site AND account = NEW.account)
BEGIN
	SELECT RAISE (ABORT, 'FOREIGN KEY constraint failed: the site does not exist');
END;
-- +goose StatementEnd

CREATE TABLE submissions (
	id              INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account         INTEGER NOT NULL REFERENCES accounts (id),
	principal       INTEGER,
	dialect         TEXT    NOT NULL,
	idempotency_key TEXT    NOT NULL,
	time            INTEGER
);
CREATE UNIQUE INDEX submissions_key ON submissions (account, idempotency_key) WHERE idempotency_key <> '';

CREATE TABLE executions (
	id              INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account         INTEGER NOT NULL REFERENCES accounts (id),
	site            INTEGER NOT NULL,
	job             INTEGER NOT NULL REFERENCES jobs (id),
	job_name        TEXT    NOT NULL,
	submission      INTEGER,
	type            TEXT    NOT NULL,
	engine          TEXT    NOT NULL,
	name            TEXT    NOT NULL,
	submitted       INTEGER,

	state           TEXT    NOT NULL CHECK (state IN ('PLANNED', 'QUEUED', 'RUNNING', 'SUSPENDED', 'ENDED')),
	wanted          INTEGER NOT NULL,
	outcome         TEXT    NOT NULL CHECK ((state = 'ENDED') = (outcome <> '')),
	reason          TEXT    NOT NULL,
	fence           INTEGER NOT NULL,
	attempts        INTEGER NOT NULL,
	retries         INTEGER NOT NULL,
	hand_backs      INTEGER NOT NULL,
	detail          TEXT    NOT NULL,
	run_asked       TEXT    NOT NULL,
	run_type        TEXT    NOT NULL,
	run_type_reason TEXT    NOT NULL,
	priority        INTEGER NOT NULL,
	pool            TEXT    NOT NULL,
	host            INTEGER NOT NULL, -- 0: none
	repository      INTEGER NOT NULL, -- 0: none
	restore         TEXT,             -- JSON
	due             INTEGER NOT NULL, -- 0: at once; not NULL, so that it can be compared
	abort_after     INTEGER NOT NULL, -- microseconds
	worker          INTEGER,
	request         TEXT    NOT NULL,
	beat            INTEGER NOT NULL,
	progress        TEXT    NOT NULL, -- JSON
	backup_set      INTEGER,
	parent          INTEGER,
	result          TEXT,             -- JSON
	started         INTEGER,
	restarted       INTEGER,
	wanted_at       INTEGER,
	ended           INTEGER,
	stored_size     INTEGER NOT NULL
);

-- Pages of what never changes.
CREATE INDEX executions_account ON executions (account, id);
CREATE INDEX executions_job ON executions (account, job, site, type, id);
CREATE INDEX executions_site ON executions (account, site, type, id);
CREATE INDEX executions_parent ON executions (parent, id) WHERE parent IS NOT NULL;
CREATE INDEX executions_submission ON executions (submission, id) WHERE submission IS NOT NULL;
-- The few that live. A query names the same condition, or does not use the index.
CREATE INDEX executions_live ON executions (state, account, id, job, site, type) WHERE state <> 'ENDED';
CREATE INDEX executions_busy ON executions (job, state, id) WHERE state <> 'ENDED';
CREATE INDEX executions_planned ON executions (due, id) WHERE state = 'PLANNED';
CREATE INDEX executions_queued ON executions (pool, host, priority, due, id) WHERE state = 'QUEUED';
CREATE INDEX executions_queued_group ON executions (pool, host, priority, job, site, repository, due, id) WHERE state = 'QUEUED';
CREATE INDEX executions_running_site ON executions (site) WHERE state = 'RUNNING';
CREATE INDEX executions_running_repository ON executions (repository) WHERE state = 'RUNNING';
CREATE INDEX executions_running_request ON executions (worker, request) WHERE state = 'RUNNING';

-- How many executions there are, so that no list counts them: one row for each
-- job, and one with job 0 for each site and type.
CREATE TABLE execution_totals (
	account INTEGER NOT NULL,
	job     INTEGER NOT NULL,
	site    INTEGER NOT NULL,
	type    TEXT    NOT NULL,
	n       INTEGER NOT NULL,
	PRIMARY KEY (account, job, site, type)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER executions_counted AFTER INSERT ON executions
BEGIN
	INSERT INTO execution_totals (account, job, site, type, n)
	VALUES (NEW.account, NEW.job, NEW.site, NEW.type, 1), (NEW.account, 0, NEW.site, NEW.type, 1)
	ON CONFLICT DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_uncounted AFTER DELETE ON executions
BEGIN
	UPDATE execution_totals SET n = n - 1
	WHERE account = OLD.account AND job IN (0, OLD.job) AND site = OLD.site AND type = OLD.type;
	DELETE FROM restores WHERE execution = OLD.id AND job IN (SELECT job FROM executions WHERE id = OLD.parent);
	DELETE FROM restores WHERE job = OLD.job AND execution IN (SELECT id FROM executions WHERE parent = OLD.id);
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_inserted_between AFTER INSERT ON executions
WHEN NEW.id < (SELECT max(id) FROM executions)
BEGIN
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- The restores of what a job made: those whose parent is an execution of it.
CREATE TABLE restores (
	job       INTEGER NOT NULL, -- the parent's
	execution INTEGER NOT NULL, -- the restore
	PRIMARY KEY (job, execution)
) WITHOUT ROWID;

-- +goose StatementBegin
CREATE TRIGGER executions_restore AFTER INSERT ON executions
WHEN NEW.type = 'RESTORE' AND NEW.parent IS NOT NULL
BEGIN
	INSERT INTO restores (job, execution) SELECT job, NEW.id FROM executions WHERE id = NEW.parent;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_restore_changed AFTER UPDATE OF parent ON executions
WHEN NEW.type = 'RESTORE' AND NEW.parent IS NOT OLD.parent
BEGIN
	DELETE FROM restores WHERE execution = OLD.id AND job IN (SELECT job FROM executions WHERE id = OLD.parent);
	INSERT INTO restores (job, execution) SELECT job, NEW.id FROM executions WHERE id = NEW.parent;
	UPDATE installation SET epoch = epoch + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_ended BEFORE UPDATE ON executions
WHEN OLD.state = 'ENDED'
BEGIN
	SELECT RAISE (ABORT, 'an ended execution never changes');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER executions_identity BEFORE UPDATE OF id, account, site, job, type ON executions
BEGIN
	SELECT RAISE (ABORT, 'what an execution belongs to never changes');
END;
-- +goose StatementEnd

CREATE TABLE backup_sets (
	id                INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account           INTEGER NOT NULL REFERENCES accounts (id),
	site              INTEGER NOT NULL,
	job               INTEGER,
	execution         INTEGER,
	parent            INTEGER,
	engine            TEXT    NOT NULL,
	run_type          TEXT    NOT NULL,
	started           INTEGER,
	stopped           INTEGER,
	bytes             INTEGER NOT NULL,
	added             INTEGER NOT NULL,
	damaged           TEXT    NOT NULL,
	protected         INTEGER NOT NULL,
	system_identifier INTEGER NOT NULL, -- the bits of an unsigned number, and so are the LSNs
	version           INTEGER NOT NULL,
	timeline          INTEGER NOT NULL,
	start_lsn         INTEGER NOT NULL,
	stop_lsn          INTEGER NOT NULL,
	tablespaces       TEXT    NOT NULL, -- JSON
	created           INTEGER
);
CREATE INDEX backup_sets_account ON backup_sets (account, id);
CREATE INDEX backup_sets_site ON backup_sets (account, site, id);
CREATE INDEX backup_sets_job ON backup_sets (account, job, id);

CREATE TABLE copies (
	id         INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account    INTEGER NOT NULL REFERENCES accounts (id),
	backup_set INTEGER NOT NULL REFERENCES backup_sets (id),
	repository INTEGER NOT NULL REFERENCES repositories (id),
	snapshot   TEXT    NOT NULL,
	state      TEXT    NOT NULL,
	execution  INTEGER,
	fence      INTEGER NOT NULL,
	intended   INTEGER,
	verified   INTEGER
);
CREATE INDEX copies_set ON copies (backup_set, id);
CREATE INDEX copies_repository ON copies (repository);
CREATE INDEX copies_state ON copies (state, id);
CREATE UNIQUE INDEX copies_fence ON copies (execution, fence) WHERE execution IS NOT NULL;

CREATE TABLE workers (
	id          INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	name        TEXT    NOT NULL,
	key         TEXT    NOT NULL,
	seal_key    TEXT    NOT NULL,
	pools       TEXT    NOT NULL, -- JSON
	hosts       TEXT    NOT NULL, -- JSON
	slots       INTEGER NOT NULL,
	maintenance INTEGER NOT NULL,
	version     TEXT    NOT NULL,
	created     INTEGER,
	seen        INTEGER,
	removed     INTEGER
);
CREATE UNIQUE INDEX workers_name ON workers (name) WHERE removed IS NULL;
CREATE UNIQUE INDEX workers_key ON workers (key) WHERE key <> '';

CREATE TABLE events (
	id      INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id BETWEEN 1001 AND 9007199254740991),
	account INTEGER, -- NULL: of the installation
	time    INTEGER,
	actor   TEXT NOT NULL,
	dialect TEXT NOT NULL,
	subject TEXT NOT NULL,
	kind    TEXT NOT NULL,
	data    TEXT     -- JSON
);
CREATE INDEX events_account ON events (account, id);

-- +goose StatementBegin
CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
BEGIN
	SELECT RAISE (ABORT, 'an event never changes');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER events_undeleted BEFORE DELETE ON events
BEGIN
	SELECT RAISE (ABORT, 'an event never goes');
END;
-- +goose StatementEnd

INSERT INTO sqlite_sequence (name, seq)
SELECT value, 1000 FROM json_each ('["organisations", "accounts", "principals", "credentials", "hosts", "repositories", "sites",
	"jobs", "submissions", "executions", "backup_sets", "copies", "workers", "events"]');

INSERT INTO installation (one, id, epoch, created)
VALUES (1, lower (hex (randomblob (16))), 1, CAST (unixepoch ('now', 'subsec') * 1000000 AS INTEGER));
INSERT INTO organisations (name, created) SELECT 'default', created FROM installation;
INSERT INTO accounts (organisation, name, created) SELECT id, name, created FROM organisations;
