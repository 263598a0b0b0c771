-- What somebody has taken note of: findings that match are kept and shown, and nobody is told of them until then.
CREATE TABLE silences (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Either a condition, or one matter: rule, location, certificate.
    condition TEXT,              -- CEL; NULL: one matter
    rule TEXT,
    location TEXT,               -- its URI: a location that is forgotten and comes back is the same
    fingerprint BLOB,            -- NULL: the matter concerns the location
    until INTEGER NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,            -- before its time; NULL: it was not
    CHECK ((condition IS NULL) = (rule IS NOT NULL) AND (rule IS NULL) = (location IS NULL))
) STRICT;
CREATE INDEX silences_by_end ON silences (until) WHERE ended_at IS NULL;

-- meta: "silences" counts their changes.

-- The silence that held when the finding was last judged.
ALTER TABLE findings ADD COLUMN silence INTEGER REFERENCES silences;
CREATE INDEX findings_by_silence ON findings (silence) WHERE silence IS NOT NULL;
