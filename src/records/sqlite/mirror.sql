-- Version 5 of the record database: which mirror it belongs to, and which files were found missing there.

CREATE TABLE mirror (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    marker TEXT NOT NULL -- what the mirror's marker says, 32 hexadecimal digits
) STRICT;

-- Evicted downloads that nobody here deleted: they were not at their places, and may be again.
CREATE TABLE missing (
    id INTEGER PRIMARY KEY -- of the download
) STRICT;

CREATE TRIGGER missing_deleted AFTER DELETE ON downloads BEGIN
    DELETE FROM missing WHERE id = old.id;
END;
