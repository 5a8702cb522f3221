-- What was written: the fs-verity digest of the volume, "sha256:" and 64 hex digits.

ALTER TABLE task ADD COLUMN digest TEXT;
