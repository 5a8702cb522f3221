-- Who may sign requests.  Never edit a migration that was released: add the next one.
--
-- Secrets are sealed under the master key (auth/seal.h); of a session token only its SHA-256 is here.

-- A known text sealed under each version of the master key: a wrong key is found at the start.
CREATE TABLE master_key (
    version INTEGER PRIMARY KEY,
    proof   BLOB NOT NULL
);

-- actions: 'all', or names joined with commas.
CREATE TABLE account (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE CHECK (length(id) = 12),
    name       TEXT UNIQUE,
    actions    TEXT NOT NULL,
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_ms INTEGER NOT NULL
);

-- Temporary credentials have both a token and an end.
CREATE TABLE access_key (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE CHECK (length(id) = 20),
    account    TEXT NOT NULL REFERENCES account (id),
    sealed     BLOB NOT NULL,
    token_hash BLOB,
    expires_ms INTEGER,
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_ms INTEGER NOT NULL,
    CHECK ((token_hash IS NULL) = (expires_ms IS NULL)),
    CHECK (token_hash IS NULL OR length(token_hash) = 32)
);

CREATE INDEX access_key_of_account ON access_key (account);
