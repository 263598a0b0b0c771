-- One CA: its issuers, requests, certificates and the ledger. Instants are microseconds since 1970-01-01 UTC.
-- A file of its own and not the inventory's: each commit here is synced to disk before anything is released, an offline
-- root has no inventory, and retention never touches it.

CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE issuers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,              -- root, intermediate
    key TEXT NOT NULL,               -- where it is: "file:/…" or a PKCS#11 URI, never with a PIN
    csr BLOB,                        -- DER. NULL: a root
    certificate BLOB,                -- DER. NULL: not signed yet
    chain BLOB NOT NULL DEFAULT x'', -- PEM of what is above it, without the root
    created INTEGER NOT NULL,
    retired INTEGER                  -- NULL: in use
) STRICT;

CREATE TABLE requests (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    channel TEXT NOT NULL,           -- cli, ca, remediation, http, acme
    requester TEXT NOT NULL,         -- for whom
    submitter TEXT NOT NULL,         -- who asked
    profile TEXT NOT NULL,
    wanted BLOB NOT NULL,            -- what is asked for, JSON
    needed INTEGER NOT NULL,         -- people who must approve
    state TEXT NOT NULL              -- waiting, approved, issued, refused
) STRICT;

CREATE TABLE approvals (
    request INTEGER NOT NULL REFERENCES requests,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (request, person)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (
    serial BLOB PRIMARY KEY,         -- 16 bytes, big-endian
    issuer INTEGER NOT NULL REFERENCES issuers,
    request INTEGER,                 -- NULL: made by the CA for itself
    profile TEXT NOT NULL,
    requester TEXT NOT NULL,
    names TEXT NOT NULL,             -- separated by spaces
    shard INTEGER NOT NULL,          -- its CRL
    not_before INTEGER NOT NULL,
    not_after INTEGER NOT NULL,
    state TEXT NOT NULL,             -- intended, issued; lost: a crash came between signature and entry
    der BLOB,                        -- NULL: intended or lost
    revoked INTEGER,                 -- NULL: it is not
    reason TEXT,
    replaces BLOB                    -- serial (RFC 9773, 5). NULL: none
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_revoked ON certificates (issuer, shard, revoked) WHERE revoked IS NOT NULL;
CREATE INDEX certificates_by_end ON certificates (not_after);
CREATE INDEX certificates_intended ON certificates (state) WHERE state = 'intended';

-- The ledger: nothing in here is ever changed or deleted.
CREATE TABLE ledger (
    position INTEGER PRIMARY KEY,    -- from 0, without gaps
    entry BLOB NOT NULL,             -- JSON, as it is hashed
    leaf BLOB NOT NULL               -- its hash (RFC 6962, 2.1)
) STRICT;
CREATE TABLE nodes (                 -- hashes of complete subtrees of 256^level leaves
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoints (size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;

CREATE TABLE crls (
    issuer INTEGER NOT NULL REFERENCES issuers,
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der BLOB NOT NULL,
    PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;
