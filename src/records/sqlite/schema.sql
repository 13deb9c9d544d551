-- Version 1 of the record database. Applied once, in one transaction; later versions are further steps in
-- connect.rs, so this file never changes after a release.

PRAGMA application_id = 1297239891; -- "MROS"

-- Each directory once, so that millions of downloads do not repeat its path. The key is the server and the
-- bytes on the wire: two paths that read alike may be two directories.
CREATE TABLE directories (
    id     INTEGER PRIMARY KEY,
    server TEXT NOT NULL,
    wire   BLOB NOT NULL,
    text   TEXT,             -- the local path; null where it is the wire's bytes
    UNIQUE (server, wire)
) STRICT;

-- One row for each path that was ever downloaded, and for ever. It is the notices' outbox as well: a row that
-- is neither notified nor evicted is still to be announced. An id is never used again (AUTOINCREMENT), so
-- that ascending ids are the order of download even after somebody deleted rows by hand.
CREATE TABLE downloads (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    directory       INTEGER NOT NULL REFERENCES directories (id),
    name            BLOB NOT NULL,
    -- null where it is the name's bytes; a whole path (it begins with a slash) where the directory's text was
    -- another when this file came, as after a change of the server's encoding
    text            TEXT,
    size            INTEGER NOT NULL,           -- bytes that were stored
    modified        INTEGER,                    -- the server's time of it, in unix seconds; null where not said
    modified_source INTEGER,                    -- names::TimeSource::code; null with modified
    downloaded_at   INTEGER NOT NULL,           -- unix milliseconds, as are all *_at
    notified_at     INTEGER,
    evicted_at      INTEGER,
    attempts        INTEGER NOT NULL DEFAULT 0, -- failed calls so far
    next_attempt_at INTEGER NOT NULL,           -- 0 once there is nothing more to announce
    UNIQUE (directory, name)
) STRICT;

CREATE INDEX present_announced ON downloads (id)
    WHERE evicted_at IS NULL AND notified_at IS NOT NULL;
CREATE INDEX present_unannounced ON downloads (id)
    WHERE evicted_at IS NULL AND notified_at IS NULL;
CREATE INDEX outbox ON downloads (next_attempt_at)
    WHERE evicted_at IS NULL AND notified_at IS NULL;

-- What the server showed last, for the few downloads where that is not what was downloaded.
CREATE TABLE last_listed (
    id              INTEGER PRIMARY KEY REFERENCES downloads (id),
    size            INTEGER,          -- the bits of an unsigned number
    modified        INTEGER,
    modified_source INTEGER,
    changes         INTEGER NOT NULL  -- 0: the listing was out of date when the file came
) STRICT;

-- Sums over downloads, kept by the triggers below, so that nobody counts ten million rows and no statement
-- can forget to.
CREATE TABLE totals (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    present_files INTEGER NOT NULL,
    present_bytes INTEGER NOT NULL,
    evicted_files INTEGER NOT NULL,
    evicted_bytes INTEGER NOT NULL,
    pending       INTEGER NOT NULL,   -- neither notified nor evicted
    delivered     INTEGER NOT NULL,   -- notified, evicted or not
    cancelled     INTEGER NOT NULL,   -- evicted before they were notified
    changes       INTEGER NOT NULL    -- ever noticed on servers
) STRICT;
INSERT INTO totals VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0);

CREATE TRIGGER count_inserted AFTER INSERT ON downloads BEGIN
    UPDATE totals SET
        present_files = present_files + (new.evicted_at IS NULL),
        present_bytes = present_bytes + (new.evicted_at IS NULL) * new.size,
        evicted_files = evicted_files + (new.evicted_at IS NOT NULL),
        evicted_bytes = evicted_bytes + (new.evicted_at IS NOT NULL) * new.size,
        pending = pending + (new.evicted_at IS NULL AND new.notified_at IS NULL),
        delivered = delivered + (new.notified_at IS NOT NULL),
        cancelled = cancelled + (new.evicted_at IS NOT NULL AND new.notified_at IS NULL);
END;

CREATE TRIGGER count_deleted AFTER DELETE ON downloads BEGIN
    UPDATE totals SET
        present_files = present_files - (old.evicted_at IS NULL),
        present_bytes = present_bytes - (old.evicted_at IS NULL) * old.size,
        evicted_files = evicted_files - (old.evicted_at IS NOT NULL),
        evicted_bytes = evicted_bytes - (old.evicted_at IS NOT NULL) * old.size,
        pending = pending - (old.evicted_at IS NULL AND old.notified_at IS NULL),
        delivered = delivered - (old.notified_at IS NOT NULL),
        cancelled = cancelled - (old.evicted_at IS NOT NULL AND old.notified_at IS NULL);
    DELETE FROM last_listed WHERE id = old.id;
END;

CREATE TRIGGER count_updated AFTER UPDATE OF size, notified_at, evicted_at ON downloads BEGIN
    UPDATE totals SET
        present_files = present_files + (new.evicted_at IS NULL) - (old.evicted_at IS NULL),
        present_bytes = present_bytes + (new.evicted_at IS NULL) * new.size
                                      - (old.evicted_at IS NULL) * old.size,
        evicted_files = evicted_files + (new.evicted_at IS NOT NULL) - (old.evicted_at IS NOT NULL),
        evicted_bytes = evicted_bytes + (new.evicted_at IS NOT NULL) * new.size
                                      - (old.evicted_at IS NOT NULL) * old.size,
        pending = pending + (new.evicted_at IS NULL AND new.notified_at IS NULL)
                          - (old.evicted_at IS NULL AND old.notified_at IS NULL),
        delivered = delivered + (new.notified_at IS NOT NULL) - (old.notified_at IS NOT NULL),
        cancelled = cancelled + (new.evicted_at IS NOT NULL AND new.notified_at IS NULL)
                              - (old.evicted_at IS NOT NULL AND old.notified_at IS NULL);
END;
