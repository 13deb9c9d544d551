-- Version 2 of the record database: from when on a server is mirrored that is to begin with what is new (since = "now").

CREATE TABLE beginnings (
    server TEXT PRIMARY KEY,
    at     INTEGER NOT NULL -- unix seconds
) STRICT;
