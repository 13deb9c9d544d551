-- Version 3 of the record database: notices that were never tried are found beside any number that failed.

DROP INDEX outbox;
CREATE INDEX outbox ON downloads (attempts > 0, next_attempt_at)
    WHERE evicted_at IS NULL AND notified_at IS NULL;
