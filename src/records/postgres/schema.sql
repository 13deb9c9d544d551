-- Version 1 of the records in PostgreSQL. Applied once, in one transaction; later versions are further steps in
-- schema.rs, so this file never changes after a release.

-- One row for what holds for all. A release whose version is below min_writer does not write.
CREATE TABLE mrosync.meta (
    id         int PRIMARY KEY CHECK (id = 1),
    fleet      uuid NOT NULL DEFAULT gen_random_uuid(),
    version    int NOT NULL,
    min_writer int NOT NULL,
    mirror     text -- what the mirror's marker says, 32 hexadecimal digits
);

-- Who writes. '*' is a service that has the records for itself; life is null where nobody does.
CREATE TABLE mrosync.nodes (
    node     text PRIMARY KEY,
    life     uuid,
    seen_at  timestamptz NOT NULL,
    began_at timestamptz NOT NULL,
    holder   text NOT NULL
) WITH (fillfactor = 50);

-- Raised within the transaction that writes, so that nothing of it stays where somebody else has the records. The row
-- is locked until the end of it: who takes them waits for it.
CREATE FUNCTION mrosync.fence(own uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM mrosync.nodes WHERE node = '*' AND life = own FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'MRF01', MESSAGE =
            'another service has taken these records (' ||
            coalesce((SELECT holder FROM mrosync.nodes WHERE node = '*'), 'unknown') ||
            '): stop one of the two, and start this one again';
    END IF;
END $$;

CREATE TABLE mrosync.servers (
    id   int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- Each directory once, so that millions of records do not repeat its path. Paths may be longer than an index bears.
CREATE TABLE mrosync.directories (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server int NOT NULL REFERENCES mrosync.servers (id),
    wire   bytea NOT NULL,
    hash   bytea NOT NULL GENERATED ALWAYS AS (sha256(wire)) STORED,
    text   text, -- the local path; null where it is the wire's bytes
    UNIQUE (server, hash)
);

-- One row for each path that was ever downloaded. Written once, and once more when the file goes: what changes in
-- between is in files.
CREATE TABLE mrosync.records (
    id            bigint GENERATED ALWAYS AS IDENTITY,
    directory     bigint NOT NULL,
    size          bigint NOT NULL,             -- bytes that were stored
    modified      bigint,                      -- the server's time of it, in unix seconds; null where not said
    downloaded_at bigint NOT NULL,             -- unix milliseconds, as are all *_at
    notified_at   bigint,                      -- once it is evicted; before that see files
    evicted_at    bigint,
    attempts      int,                         -- once it is evicted: failed calls, where there were any
    source        smallint,                    -- facts::TimeSource::code; null with modified
    no_archive    boolean NOT NULL DEFAULT false,
    name          bytea NOT NULL,
    -- null where it is the name's bytes; a whole path (it begins with a slash) where the directory's text was another
    -- when this file came
    text          text,
    PRIMARY KEY (directory, name)
) WITH (fillfactor = 95, autovacuum_vacuum_insert_scale_factor = 0.05);
CREATE UNIQUE INDEX records_id ON mrosync.records (id);

-- The files of the mirror, and the outbox: those that are not notified are still to be announced.
CREATE TABLE mrosync.files (
    id              bigint PRIMARY KEY, -- of the record
    size            bigint NOT NULL,
    notified_at     bigint,
    next_attempt_at bigint NOT NULL,    -- 0 once there is nothing more to announce
    server          int NOT NULL,
    attempts        int NOT NULL DEFAULT 0
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX files_announced ON mrosync.files (id) WHERE notified_at IS NOT NULL;
CREATE INDEX files_unannounced ON mrosync.files (id) WHERE notified_at IS NULL;
CREATE INDEX files_fresh ON mrosync.files (next_attempt_at, id) WHERE notified_at IS NULL AND attempts = 0;
CREATE INDEX files_tried ON mrosync.files (next_attempt_at, id) WHERE notified_at IS NULL AND attempts > 0;

-- What the server showed last, for the few records where that is not what was downloaded.
CREATE TABLE mrosync.last_listed (
    id       bigint PRIMARY KEY,
    size     bigint, -- the bits of an unsigned number
    modified bigint,
    source   smallint,
    changes  int NOT NULL -- 0: the listing was out of date when the file came
);

-- Evicted files that nobody here deleted: they were not at their places, and may be again.
CREATE TABLE mrosync.missing (id bigint PRIMARY KEY);

CREATE TABLE mrosync.beginnings (
    server text PRIMARY KEY,
    at     bigint NOT NULL -- unix seconds
);

-- What the service remembers from one start to the next, beside the records.
CREATE TABLE mrosync.remembered (
    key   text PRIMARY KEY,
    value text NOT NULL
);

-- Sums of each server, kept by the triggers below, so that nobody counts ten million rows and no statement can forget.
CREATE TABLE mrosync.sums (
    server        int PRIMARY KEY REFERENCES mrosync.servers (id),
    present_files bigint NOT NULL DEFAULT 0,
    present_bytes numeric NOT NULL DEFAULT 0,
    evicted_files bigint NOT NULL DEFAULT 0,
    evicted_bytes numeric NOT NULL DEFAULT 0,
    pending       bigint NOT NULL DEFAULT 0, -- neither notified nor evicted
    delivered     bigint NOT NULL DEFAULT 0, -- notified, evicted or not
    cancelled     bigint NOT NULL DEFAULT 0, -- evicted before they were notified
    changes       bigint NOT NULL DEFAULT 0  -- ever noticed on servers
) WITH (fillfactor = 50);

-- A function and a trigger for each kind of statement on each table: what a row that is there counts for is taken
-- away with the old one and added with the new one.
DO $do$
DECLARE
    kind record;
BEGIN
    FOR kind IN SELECT * FROM (VALUES
        ('insert', 'SELECT 1 AS sign, * FROM new_rows', 'NEW TABLE AS new_rows'),
        ('delete', 'SELECT -1 AS sign, * FROM old_rows', 'OLD TABLE AS old_rows'),
        ('update', 'SELECT 1 AS sign, * FROM new_rows UNION ALL SELECT -1, * FROM old_rows',
            'OLD TABLE AS old_rows NEW TABLE AS new_rows')) AS kinds (name, rows, tables)
    LOOP
        EXECUTE format($f$CREATE FUNCTION mrosync.count_files_%1$s() RETURNS trigger LANGUAGE plpgsql AS $body$
            BEGIN
                UPDATE mrosync.sums s SET present_files = present_files + files, present_bytes = present_bytes + bytes,
                    pending = pending + files - notified, delivered = delivered + notified
                FROM (SELECT server, sum(sign) AS files, sum(sign * size) AS bytes,
                        coalesce(sum(sign) FILTER (WHERE notified_at IS NOT NULL), 0) AS notified
                    FROM (%2$s) AS rows GROUP BY server) AS change
                WHERE s.server = change.server AND (files <> 0 OR bytes <> 0 OR notified <> 0);
                RETURN NULL;
            END $body$$f$, kind.name, kind.rows);
        EXECUTE format($f$CREATE FUNCTION mrosync.count_records_%1$s() RETURNS trigger LANGUAGE plpgsql AS $body$
            BEGIN
                UPDATE mrosync.sums s SET evicted_files = evicted_files + files, evicted_bytes = evicted_bytes + bytes,
                    cancelled = cancelled + files - notified, delivered = delivered + notified
                FROM (SELECT d.server, sum(sign) AS files, sum(sign * size) AS bytes,
                        coalesce(sum(sign) FILTER (WHERE notified_at IS NOT NULL), 0) AS notified
                    FROM (%2$s) AS rows JOIN mrosync.directories d ON d.id = rows.directory
                    WHERE evicted_at IS NOT NULL GROUP BY d.server) AS change
                WHERE s.server = change.server AND (files <> 0 OR bytes <> 0 OR notified <> 0);
                RETURN NULL;
            END $body$$f$, kind.name, kind.rows);
        EXECUTE format('CREATE TRIGGER count_%1$s AFTER %1$s ON mrosync.files REFERENCING %2$s
            FOR EACH STATEMENT EXECUTE FUNCTION mrosync.count_files_%1$s()', kind.name, kind.tables);
        EXECUTE format('CREATE TRIGGER count_%1$s AFTER %1$s ON mrosync.records REFERENCING %2$s
            FOR EACH STATEMENT EXECUTE FUNCTION mrosync.count_records_%1$s()', kind.name, kind.tables);
    END LOOP;
END $do$;

INSERT INTO mrosync.meta (id, version, min_writer) VALUES (1, 1, 1);
