-- Who may sign requests, as in sqlite-accounts.  Never edit a migration that was released: add the
-- next one.
--
-- Secrets are sealed under the master key (auth/seal.h); of a session token only its SHA-256 is here.

-- A known text sealed under each version of the master key: a wrong key is found at the start.
CREATE TABLE master_key (
    version bigint PRIMARY KEY,
    proof   bytea NOT NULL
);

-- actions: 'all', or names joined with commas.
CREATE TABLE account (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text NOT NULL UNIQUE CHECK (length(id) = 12),
    name       text UNIQUE,
    actions    text NOT NULL,
    enabled    bigint NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_ms bigint NOT NULL
);

-- Temporary credentials have both a token and an end.
CREATE TABLE access_key (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text NOT NULL UNIQUE CHECK (length(id) = 20),
    account    text NOT NULL REFERENCES account (id),
    sealed     bytea NOT NULL,
    token_hash bytea,
    expires_ms bigint,
    enabled    bigint NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    created_ms bigint NOT NULL,
    CHECK ((token_hash IS NULL) = (expires_ms IS NULL)),
    CHECK (token_hash IS NULL OR length(token_hash) = 32)
);

CREATE INDEX access_key_of_account ON access_key (account, seq);
