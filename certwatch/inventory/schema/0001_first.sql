-- The inventory, as first released. Never edit this file: add the next one (see schema.py).
--
-- Instants are microseconds since 1970-01-01 UTC. What an unchanged look writes is one narrow row of `looks`;
-- whatever is wide stands elsewhere. Tables are STRICT: a wrong type is an error when it is written.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,        -- "clock": latest instant a writer was told; "rules": digest last judged by
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- Issuers' names, RFC 4514: few, and repeated by every certificate.
CREATE TABLE issuers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- What is looked up or sorted by; everything else is read from the DER when it is shown.
-- AUTOINCREMENT here and below: an id is never used twice, so that what remembers one (a reader's parsed
-- certificates, a judgement on its way) cannot hit another row after retention.
CREATE TABLE certificates (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    fingerprint BLOB NOT NULL,   -- SHA-256 of the DER
    serial TEXT NOT NULL,        -- lower-case hex, whole bytes; '': unreadable
    spki BLOB,                   -- SHA-256 of the SubjectPublicKeyInfo; NULL: unreadable
    tbs BLOB,                    -- SHA-256 of the TBSCertificate without SCTs; NULL: unreadable
    not_before INTEGER NOT NULL, -- 9223372036854775807: unreadable
    not_after INTEGER NOT NULL,  -- 9223372036854775807: unreadable
    subject TEXT NOT NULL,       -- RFC 4514
    issuer INTEGER NOT NULL REFERENCES issuers
) STRICT;
CREATE UNIQUE INDEX certificates_by_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_by_serial ON certificates (serial, issuer);
-- Of the hashes the first 8 bytes: they tell apart as well, and a third of the pages is written.
CREATE INDEX certificates_by_spki ON certificates (substr(spki, 1, 8)) WHERE spki IS NOT NULL;
CREATE INDEX certificates_by_tbs ON certificates (substr(tbs, 1, 8)) WHERE tbs IS NOT NULL;
CREATE INDEX certificates_by_not_after ON certificates (not_after);

-- Apart from `certificates`, so that reading through those does not read these.
CREATE TABLE ders (
    certificate INTEGER PRIMARY KEY REFERENCES certificates,
    der BLOB NOT NULL
) STRICT;

-- Names without their kind, lower-case, spelt backwards: "moc.elpmaxe.www". Equality finds a name, a range
-- finds everything below a domain, in one tree.
CREATE TABLE names (
    reversed TEXT NOT NULL,
    certificate INTEGER NOT NULL,  -- of certificates; held by Reader.check(), for want of an index the other way
    PRIMARY KEY (reversed, certificate)
) STRICT, WITHOUT ROWID;

CREATE TABLE collectors (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    abandoned INTEGER NOT NULL DEFAULT 0  -- 1: the config names it no more
) STRICT;

CREATE TABLE scans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    collector INTEGER NOT NULL REFERENCES collectors,
    started_at INTEGER NOT NULL,
    finished_at INTEGER,         -- NULL: running, or its process died
    status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'partial', 'failed')),
    error_kind TEXT,
    error_message TEXT,
    observations INTEGER NOT NULL DEFAULT 0,  -- written when it ends
    errors INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX scans_by_collector ON scans (collector, id);

CREATE TABLE locations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    uri TEXT NOT NULL UNIQUE,
    chain TEXT NOT NULL,         -- JSON array of certificates' ids as last presented, leaf first
    facts TEXT NOT NULL,         -- JSON object: the stable facts that came with it
    shown BLOB NOT NULL,         -- digest of chain and facts: the same means unchanged
    error_kind TEXT,             -- of the last look; NULL: it went well
    error_message TEXT,
    failing_since INTEGER,       -- first look of the present run of looks that saw no chain
    first_seen INTEGER NOT NULL,
    retired_at INTEGER           -- NULL: live
) STRICT;

-- Which collector watches a location, and what it says of it.
CREATE TABLE watches (
    location INTEGER NOT NULL REFERENCES locations,
    collector INTEGER NOT NULL REFERENCES collectors,
    scope TEXT NOT NULL,
    labels TEXT NOT NULL,        -- JSON object
    stopped_at INTEGER,          -- NULL: it watches; else when it stopped
    PRIMARY KEY (location, collector)
) STRICT, WITHOUT ROWID;
CREATE INDEX watches_by_collector ON watches (collector) WHERE stopped_at IS NULL;

-- The last look of each collector at a location: the one row that an unchanged look writes.
CREATE TABLE looks (
    location INTEGER NOT NULL REFERENCES locations,
    collector INTEGER NOT NULL REFERENCES collectors,
    scan INTEGER NOT NULL,       -- the last that looked
    failed INTEGER NOT NULL,     -- 1: that look had an error
    seen INTEGER NOT NULL,       -- latest look
    served INTEGER,              -- latest look that saw a chain; NULL: none did
    PRIMARY KEY (location, collector)
) STRICT, WITHOUT ROWID;

-- A span in which a location served a certificate at a place of its chain.
CREATE TABLE sightings (
    location INTEGER NOT NULL REFERENCES locations,
    position INTEGER NOT NULL,   -- 0: leaf
    first_seen INTEGER NOT NULL,
    certificate INTEGER NOT NULL REFERENCES certificates,
    last_seen INTEGER,           -- NULL while it lasts: it is the location's last look that saw a chain
    ended_at INTEGER,
    PRIMARY KEY (location, position, first_seen, certificate),
    CHECK ((last_seen IS NULL) = (ended_at IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX sightings_open ON sightings (location, position) WHERE ended_at IS NULL;
CREATE INDEX sightings_by_certificate ON sightings (certificate, ended_at);

-- What the rules have to do with a location.
CREATE TABLE judgements (
    location INTEGER PRIMARY KEY REFERENCES locations,
    revision INTEGER NOT NULL,   -- grows with every change of the location
    judged INTEGER NOT NULL,     -- revision last judged; 0: never
    due_at INTEGER,              -- when it must be judged; NULL: time changes nothing
    owner TEXT NOT NULL,
    CHECK (judged = revision OR due_at IS NOT NULL)
) STRICT;
CREATE INDEX judgements_due ON judgements (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX judgements_by_owner ON judgements (owner) WHERE owner <> '';

CREATE TABLE findings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    rule TEXT NOT NULL,
    severity INTEGER NOT NULL,   -- 0: gravest (model/finding.py, SEVERITIES)
    location INTEGER NOT NULL REFERENCES locations,
    fingerprint BLOB,            -- NULL: it concerns the location
    summary TEXT NOT NULL,
    text TEXT NOT NULL,
    runbook TEXT NOT NULL,
    owner TEXT NOT NULL,
    opened_at INTEGER NOT NULL,
    resolved_at INTEGER          -- NULL: open
) STRICT;
CREATE UNIQUE INDEX findings_open ON findings (location, rule, ifnull(fingerprint, x'')) WHERE resolved_at IS NULL;
CREATE INDEX findings_open_by_severity ON findings (severity, opened_at) WHERE resolved_at IS NULL;
CREATE INDEX findings_by_location ON findings (location);
CREATE INDEX findings_by_fingerprint ON findings (fingerprint) WHERE fingerprint IS NOT NULL;
