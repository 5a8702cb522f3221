-- One row per conversion task.  Never edit a migration that was released: add the next one.
--
-- Nobody works on a row whose lease_ms is NULL; due_ms says when it may be claimed.
-- ended_ms is set with the last state and says from when a row may be forgotten.

CREATE TABLE task (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    account         TEXT NOT NULL,
    state           TEXT NOT NULL
                    CHECK (state IN ('active', 'cancelling', 'cancelled', 'completed')),
    status_message  TEXT,
    format          TEXT NOT NULL,
    image_bytes     INTEGER NOT NULL CHECK (image_bytes >= 0),
    manifest_url    TEXT NOT NULL,
    volume_gib      INTEGER NOT NULL CHECK (volume_gib > 0),
    zone            TEXT NOT NULL,
    description     TEXT,
    bytes_converted INTEGER NOT NULL DEFAULT 0
                    CHECK (bytes_converted BETWEEN 0 AND image_bytes),
    volume_id       TEXT NOT NULL UNIQUE,
    created_ms      INTEGER NOT NULL,
    expires_ms      INTEGER NOT NULL,
    ended_ms        INTEGER,
    due_ms          INTEGER NOT NULL DEFAULT 0,
    lease_ms        INTEGER,
    epoch           INTEGER NOT NULL DEFAULT 0,
    deaths          INTEGER NOT NULL DEFAULT 0,
    waits           INTEGER NOT NULL DEFAULT 0,
    tries           INTEGER NOT NULL DEFAULT 0,
    CHECK ((ended_ms IS NOT NULL) = (state IN ('cancelled', 'completed'))),
    CHECK (ended_ms IS NULL OR lease_ms IS NULL)
);

CREATE INDEX task_of_account ON task (account);

-- What workers and the limit of active tasks look at stays small however long the history grows.
CREATE INDEX task_by_end ON task (ended_ms);
CREATE INDEX task_not_ended ON task (account) WHERE ended_ms IS NULL;
