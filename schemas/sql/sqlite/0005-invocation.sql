-- SHA-256 of the amz-sdk-invocation-id of the request that made the task.
ALTER TABLE task ADD COLUMN invocation TEXT;
