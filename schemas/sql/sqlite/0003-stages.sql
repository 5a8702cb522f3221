-- A task is what its owner sees, its stages are what workers do: one convert per disk, and for an
-- instance one launch.  Rows of the old table become a task with one convert each.
--
-- Nobody works on a stage whose lease_ms is NULL; due_ms says when it may be claimed.  A stage that
-- is not completed or cancelled keeps its task from ending.  ended_ms of a task is set with its last
-- state and says from when it may be forgotten.

ALTER TABLE task RENAME TO old_task;
DROP INDEX task_of_account;
DROP INDEX task_by_end;
DROP INDEX task_not_ended;

CREATE TABLE task (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    account         TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('volume', 'instance')),
    state           TEXT NOT NULL
                    CHECK (state IN ('active', 'cancelling', 'cancelled', 'completed')),
    status_message  TEXT,
    description     TEXT,
    zone            TEXT,
    created_ms      INTEGER NOT NULL,
    expires_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,
    client_token    TEXT,
    parameters      TEXT,
    platform        TEXT,
    architecture    TEXT,
    instance_id     TEXT,
    image_id        TEXT,
    launch_spec     TEXT,
    boot_mode       TEXT,
    CHECK ((ended_ms IS NOT NULL) = (state IN ('cancelled', 'completed'))),
    CHECK ((client_token IS NULL) OR (parameters IS NOT NULL)),
    CHECK ((kind = 'instance') = (instance_id IS NOT NULL)),
    CHECK ((kind = 'instance') = (image_id IS NOT NULL)),
    CHECK (kind = 'instance' OR zone IS NOT NULL)
);

CREATE TABLE stage (
    id              INTEGER PRIMARY KEY,
    task            INTEGER NOT NULL REFERENCES task (seq),
    number          INTEGER NOT NULL CHECK (number > 0),
    kind            TEXT NOT NULL CHECK (kind IN ('convert', 'launch')),
    state           TEXT NOT NULL
                    CHECK (state IN ('waiting', 'active', 'completed', 'removing', 'cancelled')),
    status_message  TEXT,
    format          TEXT,
    image_bytes     INTEGER NOT NULL DEFAULT 0 CHECK (image_bytes >= 0),
    manifest_url    TEXT,
    volume_gib      INTEGER,
    description     TEXT,
    volume_id       TEXT UNIQUE,
    bytes_converted INTEGER NOT NULL DEFAULT 0
                    CHECK (bytes_converted BETWEEN 0 AND image_bytes),
    digest          TEXT,
    due_ms          INTEGER NOT NULL DEFAULT 0,
    lease_ms        INTEGER,
    epoch           INTEGER NOT NULL DEFAULT 0,
    deaths          INTEGER NOT NULL DEFAULT 0,
    waits           INTEGER NOT NULL DEFAULT 0,
    tries           INTEGER NOT NULL DEFAULT 0,
    UNIQUE (task, number),
    CHECK (lease_ms IS NULL OR state = 'active'),
    CHECK ((kind = 'convert') = (format IS NOT NULL)),
    CHECK ((kind = 'convert') = (manifest_url IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_id IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_gib IS NOT NULL)),
    CHECK (volume_gib > 0)
);

CREATE TABLE tag (
    task            INTEGER NOT NULL REFERENCES task (seq),
    key             TEXT NOT NULL,
    value           TEXT NOT NULL,
    PRIMARY KEY (task, key)
) WITHOUT ROWID;

-- The id, state, message, digest and counters of a completed or cancelled task stay as they were;
-- of one that is being cancelled the stage stays active, leased or not, until its worker, the end of
-- its lease or the next start ends it.
INSERT INTO task (seq, id, account, kind, state, status_message, description, zone, created_ms,
                  expires_ms, ended_ms)
    SELECT seq, id, account, 'volume', state,
           CASE state WHEN 'active' THEN NULL ELSE status_message END,
           description, zone, created_ms, expires_ms, ended_ms
    FROM old_task;
INSERT INTO stage (task, number, kind, state, status_message, format, image_bytes, manifest_url,
                   volume_gib, volume_id, bytes_converted, digest, due_ms, lease_ms, epoch, deaths,
                   waits, tries)
    SELECT seq, 1, 'convert', CASE state WHEN 'cancelling' THEN 'active' ELSE state END,
           CASE state WHEN 'active' THEN status_message END, format, image_bytes, manifest_url,
           volume_gib, volume_id, bytes_converted, digest, due_ms, lease_ms, epoch, deaths, waits,
           tries
    FROM old_task ORDER BY seq;
DROP TABLE old_task;

-- One page of an account's tasks; the limit of those that have not ended, counted in the index
-- alone; the tokens.
CREATE INDEX task_of_account ON task (account);
CREATE INDEX task_not_ended ON task (account, ended_ms) WHERE ended_ms IS NULL;
CREATE UNIQUE INDEX task_by_token ON task (account, kind, client_token)
    WHERE client_token IS NOT NULL;

-- What workers look at stays small however long the history grows, and is found in its order.
CREATE INDEX task_by_end ON task (ended_ms);
CREATE INDEX task_expiring ON task (expires_ms) WHERE state = 'active';
CREATE INDEX task_cancelling ON task (seq) WHERE state = 'cancelling';
CREATE INDEX stage_due ON stage (due_ms, task, number) WHERE state = 'active' AND lease_ms IS NULL;
CREATE INDEX stage_leased ON stage (lease_ms) WHERE lease_ms IS NOT NULL;
CREATE INDEX stage_removing ON stage (task) WHERE state = 'removing';
