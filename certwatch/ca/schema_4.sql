-- The fourth version: intermediates that follow one another.

ALTER TABLE issuers ADD COLUMN successor INTEGER REFERENCES issuers; -- NULL: it was not rotated
