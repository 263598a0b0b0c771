-- A book of version 1: it did not count certificates that were asked for, and knew no services.

ALTER TABLE plans ADD COLUMN orders INTEGER NOT NULL DEFAULT 0;
ALTER TABLE plans ADD COLUMN service TEXT NOT NULL DEFAULT '';
