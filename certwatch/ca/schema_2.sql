-- The second version: an OCSP responder for each issuer, delta CRLs, environments and cross-certificates of issuers.

CREATE TABLE responders (
    issuer INTEGER PRIMARY KEY REFERENCES issuers,
    key TEXT NOT NULL,               -- as in issuers
    certificate BLOB NOT NULL        -- DER, short-lived
) STRICT;

-- What a delta is of: the complete CRL that was made on schedule.
CREATE TABLE crl_bases (
    issuer INTEGER NOT NULL REFERENCES issuers,
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;
CREATE TABLE delta_crls (
    issuer INTEGER NOT NULL REFERENCES issuers,
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    base INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL,
    der BLOB NOT NULL,
    PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;

ALTER TABLE issuers ADD COLUMN environment TEXT NOT NULL DEFAULT '';
-- The same key and name, certified by another CA: chains for those who trust that one.
CREATE TABLE cross_certificates (
    issuer INTEGER NOT NULL REFERENCES issuers,
    sha256 BLOB NOT NULL,
    certificate BLOB NOT NULL,       -- DER
    chain BLOB NOT NULL,             -- PEM of what is above it, without the root
    PRIMARY KEY (issuer, sha256)
) STRICT, WITHOUT ROWID;

-- One-time enrolment tokens that were used, until they would have ended anyhow.
CREATE TABLE enrolments (
    id TEXT PRIMARY KEY,
    ends INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Certificates of each CRL, so that the next ones go to a new list when it has many.
CREATE TABLE shards (
    issuer INTEGER NOT NULL REFERENCES issuers,
    shard INTEGER NOT NULL,
    certificates INTEGER NOT NULL,
    PRIMARY KEY (issuer, shard)
) STRICT, WITHOUT ROWID;
INSERT INTO shards SELECT issuer, shard, count(*) FROM certificates GROUP BY issuer, shard;
