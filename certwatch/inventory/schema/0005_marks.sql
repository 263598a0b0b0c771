-- What people say of certificates and keys: compromised, retired. Kept for ever, with the certificate itself, which the
-- inventory may forget.
-- meta: "marks" counts their changes.
CREATE TABLE marks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('compromised', 'retired')),
    der BLOB NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER             -- taken back; NULL: it holds
) STRICT;
