-- Publication in two steps, accounts that take turns, and a ledger.
--
-- Nobody works on a stage whose lease_ms is NULL; due_ms says when it may be claimed.  worker is the
-- service that claimed it last.  won_epoch is the claim whose work is the volume: it is set with the
-- state 'publishing', before the volume gets its name.  lane is "account/zone": stages are chosen
-- lane by lane.

ALTER TABLE stage RENAME TO old_stage;
DROP INDEX stage_due;
DROP INDEX stage_leased;
DROP INDEX stage_removing;

CREATE TABLE stage (
    task            INTEGER NOT NULL REFERENCES task (seq),
    number          INTEGER NOT NULL CHECK (number > 0),
    kind            TEXT NOT NULL CHECK (kind IN ('convert', 'launch')),
    state           TEXT NOT NULL
                    CHECK (state IN ('waiting', 'active', 'publishing', 'completed', 'removing',
                                     'cancelled')),
    status_message  TEXT,
    format          TEXT,
    image_bytes     INTEGER NOT NULL DEFAULT 0 CHECK (image_bytes >= 0),
    manifest_url    TEXT,
    volume_gib      INTEGER,
    description     TEXT,
    volume_id       TEXT,
    bytes_converted INTEGER NOT NULL DEFAULT 0
                    CHECK (bytes_converted BETWEEN 0 AND image_bytes),
    digest          TEXT,
    lane            TEXT NOT NULL,
    due_ms          INTEGER NOT NULL DEFAULT 0,
    lease_ms        INTEGER,
    worker          TEXT,
    epoch           INTEGER NOT NULL DEFAULT 0,
    won_epoch       INTEGER,
    deaths          INTEGER NOT NULL DEFAULT 0,
    waits           INTEGER NOT NULL DEFAULT 0,
    tries           INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (task, number),
    CHECK (lease_ms IS NULL OR state IN ('active', 'publishing')),
    CHECK (state <> 'publishing' OR won_epoch IS NOT NULL),
    CHECK ((kind = 'convert') = (format IS NOT NULL)),
    CHECK ((kind = 'convert') = (manifest_url IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_id IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_gib IS NOT NULL)),
    CHECK (volume_gib > 0)
) WITHOUT ROWID;

INSERT INTO stage (task, number, kind, state, status_message, format, image_bytes, manifest_url,
                   volume_gib, description, volume_id, bytes_converted, digest, lane, due_ms,
                   lease_ms, epoch, deaths, waits, tries)
    SELECT old_stage.task, number, old_stage.kind, old_stage.state, old_stage.status_message, format,
           image_bytes, manifest_url, volume_gib, old_stage.description, volume_id, bytes_converted,
           digest, account || '/' || coalesce(zone, ''), due_ms, lease_ms, epoch, deaths, waits, tries
    FROM old_stage JOIN task ON task.seq = old_stage.task;
DROP TABLE old_stage;

-- What workers look at stays small however long the history grows, and is found in its order.
CREATE INDEX stage_lanes ON stage (lane, due_ms, task, number)
    WHERE state IN ('active', 'publishing') AND lease_ms IS NULL;
CREATE INDEX stage_leased ON stage (lease_ms, lane) WHERE lease_ms IS NOT NULL;
CREATE INDEX stage_removing ON stage (task) WHERE state = 'removing';
DROP INDEX task_by_end;
CREATE INDEX task_by_end ON task (ended_ms) WHERE ended_ms IS NOT NULL;
DROP INDEX task_cancelling;

-- SHA-256 of the signature of the request that made the task.
ALTER TABLE task ADD COLUMN proof TEXT;
CREATE INDEX task_by_proof ON task (proof) WHERE proof IS NOT NULL;

-- What there is outside this database because of a task, written down before it is made: the files
-- of a claim (part file and scratch directory; their names follow from task, number and epoch), and
-- uploads that are to be deleted.  worker: the service it belongs to.
CREATE TABLE thing (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   TEXT NOT NULL CHECK (kind IN ('files', 'upload')),
    task   TEXT NOT NULL,
    number INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    worker TEXT NOT NULL,
    url    TEXT,
    due_ms INTEGER NOT NULL,
    tries  INTEGER NOT NULL DEFAULT 0,
    CHECK ((kind = 'upload') = (url IS NOT NULL))
);
CREATE INDEX thing_of_task ON thing (task, number);
CREATE INDEX thing_uploads ON thing (due_ms) WHERE kind = 'upload';

-- Of claims before there was a ledger; their worker had no name.
INSERT INTO thing (kind, task, number, epoch, worker, due_ms)
    SELECT 'files', task.id, number, epoch, '', 0 FROM stage JOIN task ON task.seq = stage.task
    WHERE stage.kind = 'convert' AND epoch > 0 AND stage.state = 'active';
