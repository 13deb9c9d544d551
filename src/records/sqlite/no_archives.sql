-- Version 4 of the record database: which downloads were no zip archives. One that changes on the server is downloaded
-- again, because its bytes may have been those of an upload that had hardly begun.

ALTER TABLE downloads ADD COLUMN no_archive INTEGER NOT NULL DEFAULT 0;
