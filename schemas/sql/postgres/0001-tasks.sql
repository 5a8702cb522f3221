-- Conversion tasks.  Never edit a migration that was released: add the next one, such that the
-- program before it still works on the new schema, or set schema_oldest.
--
-- The same tables as in schemas/sql/sqlite; what they mean is told there in 0003-stages.sql and
-- 0004-claims.sql.

CREATE TABLE task (
    seq             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id              TEXT NOT NULL UNIQUE,
    account         TEXT NOT NULL,
    kind            TEXT NOT NULL CHECK (kind IN ('volume', 'instance')),
    state           TEXT NOT NULL
                    CHECK (state IN ('active', 'cancelling', 'cancelled', 'completed')),
    status_message  TEXT,
    description     TEXT,
    zone            TEXT,
    created_ms      BIGINT NOT NULL,
    expires_ms      BIGINT NOT NULL,
    ended_ms        BIGINT,
    client_token    TEXT,
    parameters      TEXT,
    platform        TEXT,
    architecture    TEXT,
    instance_id     TEXT,
    image_id        TEXT,
    launch_spec     TEXT,
    boot_mode       TEXT,
    proof           TEXT,
    CHECK ((ended_ms IS NOT NULL) = (state IN ('cancelled', 'completed'))),
    CHECK ((client_token IS NULL) OR (parameters IS NOT NULL)),
    CHECK ((kind = 'instance') = (instance_id IS NOT NULL)),
    CHECK ((kind = 'instance') = (image_id IS NOT NULL)),
    CHECK (kind = 'instance' OR zone IS NOT NULL)
);

CREATE TABLE stage (
    task            BIGINT NOT NULL REFERENCES task (seq),
    number          BIGINT NOT NULL CHECK (number > 0),
    kind            TEXT NOT NULL CHECK (kind IN ('convert', 'launch')),
    state           TEXT NOT NULL
                    CHECK (state IN ('waiting', 'active', 'publishing', 'completed', 'removing',
                                     'cancelled')),
    status_message  TEXT,
    format          TEXT,
    image_bytes     BIGINT NOT NULL DEFAULT 0 CHECK (image_bytes >= 0),
    manifest_url    TEXT,
    volume_gib      BIGINT,
    description     TEXT,
    volume_id       TEXT,
    bytes_converted BIGINT NOT NULL DEFAULT 0
                    CHECK (bytes_converted BETWEEN 0 AND image_bytes),
    digest          TEXT,
    lane            TEXT NOT NULL COLLATE "C",
    due_ms          BIGINT NOT NULL DEFAULT 0,
    lease_ms        BIGINT,
    worker          TEXT,
    epoch           BIGINT NOT NULL DEFAULT 0,
    won_epoch       BIGINT,
    deaths          BIGINT NOT NULL DEFAULT 0,
    waits           BIGINT NOT NULL DEFAULT 0,
    tries           BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (task, number),
    CHECK (lease_ms IS NULL OR state IN ('active', 'publishing')),
    CHECK (state <> 'publishing' OR won_epoch IS NOT NULL),
    CHECK ((kind = 'convert') = (format IS NOT NULL)),
    CHECK ((kind = 'convert') = (manifest_url IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_id IS NOT NULL)),
    CHECK ((kind = 'convert') = (volume_gib IS NOT NULL)),
    CHECK (volume_gib > 0)
);

CREATE TABLE tag (
    task            BIGINT NOT NULL REFERENCES task (seq),
    key             TEXT NOT NULL COLLATE "C",
    value           TEXT NOT NULL,
    PRIMARY KEY (task, key)
);

CREATE TABLE thing (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind   TEXT NOT NULL CHECK (kind IN ('files', 'upload')),
    task   TEXT NOT NULL,
    number BIGINT NOT NULL,
    epoch  BIGINT NOT NULL,
    worker TEXT NOT NULL,
    url    TEXT,
    due_ms BIGINT NOT NULL,
    tries  BIGINT NOT NULL DEFAULT 0,
    CHECK ((kind = 'upload') = (url IS NOT NULL))
);

CREATE INDEX task_of_account ON task (account, seq);
CREATE INDEX task_not_ended ON task (account) WHERE ended_ms IS NULL;
CREATE UNIQUE INDEX task_by_token ON task (account, kind, client_token)
    WHERE client_token IS NOT NULL;
CREATE INDEX task_by_proof ON task (proof) WHERE proof IS NOT NULL;
CREATE INDEX task_by_end ON task (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX task_expiring ON task (expires_ms) WHERE state = 'active';
CREATE INDEX stage_lanes ON stage (lane, due_ms, task, number)
    WHERE state IN ('active', 'publishing') AND lease_ms IS NULL;
CREATE INDEX stage_leased ON stage (lease_ms, lane) WHERE lease_ms IS NOT NULL;
CREATE INDEX stage_removing ON stage (task) WHERE state = 'removing';
CREATE INDEX thing_of_task ON thing (task, number);
CREATE INDEX thing_uploads ON thing (due_ms) WHERE kind = 'upload';

-- Rows of work change at each heartbeat: room for that beside them, and no long wait for cleaning.
ALTER TABLE stage SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
