-- People also say that a certificate, or every one of a key, is expected: authorised, authorised-key.
CREATE TABLE marks_wider (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('compromised', 'retired', 'authorised', 'authorised-key')),
    der BLOB NOT NULL,
    author TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER             -- taken back; NULL: it holds
) STRICT;
INSERT INTO marks_wider SELECT id, kind, der, author, reason, created_at, ended_at FROM marks;
DROP TABLE marks;
ALTER TABLE marks_wider RENAME TO marks;
