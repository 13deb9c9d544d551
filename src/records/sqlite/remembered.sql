-- Version 6 of the record database: what the service remembers from one start to the next, beside the records.

CREATE TABLE remembered (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
