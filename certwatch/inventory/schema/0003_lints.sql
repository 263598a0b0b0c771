-- What the linter finds in a certificate: only those in which it finds something. How far it has come stands in meta:
-- "linted", the last certificate's id, and "linter", by which version.
CREATE TABLE lints (
    certificate INTEGER PRIMARY KEY REFERENCES certificates ON DELETE CASCADE,
    found TEXT NOT NULL          -- JSON array of [profile, severity, code, message]
) STRICT;
