-- An inventory as schema version 1 leaves it: one location renewed, one retired, one open finding.
PRAGMA application_id = 1129802102;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'certwatch','0001_first','2026-11-23 18:53:56.521733+00:00');
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
INSERT INTO "certificates" VALUES(1,X'41447B2B66EDCAB9BAB99AF87F8403B64D1716CE3F6A4FB606938D2950EED8DD','421ce59080d7ec56120ec6500092e55673200acb',X'E57ABDE5BD6212E29D08A439E33430A378CE4D73DE0B11D6389AC145E0460182',X'F30CF83EA99294A729B44DA34F18C041FC512744985642B6ACD4185AB05716E3',1790942400000000,1798718400000000,'CN=www.example.com',1);
INSERT INTO "certificates" VALUES(2,X'408575E35AC048D2E61E94B46EA195FC0BDF736621A010BCD7F14DACF5DFFA9F','2d0d4405e41aac21be79a6ca933f8e2a570378e9',X'E57ABDE5BD6212E29D08A439E33430A378CE4D73DE0B11D6389AC145E0460182',X'0D9ADAA1634C7A871B1E8A8D7A98C088FE45E88F698C4BC1405A85F240673544',1790942400000000,1806494400000000,'CN=www.example.com',1);
CREATE TABLE collectors (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    abandoned INTEGER NOT NULL DEFAULT 0  -- 1: the config names it no more
) STRICT;
INSERT INTO "collectors" VALUES(1,'edge',0);
CREATE TABLE ders (
    certificate INTEGER PRIMARY KEY REFERENCES certificates,
    der BLOB NOT NULL
) STRICT;
INSERT INTO "ders" VALUES(1,X'308201A230820148A0030201020214421CE59080D7EC56120EC6500092E55673200ACB300A06082A8648CE3D040302301A3118301606035504030C0F7777772E6578616D706C652E636F6D301E170D3236313030323132303030305A170D3236313233313132303030305A301A3118301606035504030C0F7777772E6578616D706C652E636F6D3059301306072A8648CE3D020106082A8648CE3D03010703420004C466AFA539AABFF3BC00854DA5D0432E75087FAFD2628E9E1D3F90014195A4B95B3F9AA29EF3159714EA51290DE19EE65D8B41D8C6ADBFA02F36DCDB87435A94A36C306A300C0603551D130101FF04023000301D0603551D0E0416041420830C0170E766664E67A2D24122371043A737AF301F0603551D2304183016801420830C0170E766664E67A2D24122371043A737AF301A0603551D1104133011820F7777772E6578616D706C652E636F6D300A06082A8648CE3D040302034800304502205A13EF3CB3FD06933ABFA246BCCEB4E0F63AA9F77851052ED0A95C39C00C5F0B0221009D56E1E1E7807A63B76151B2C5FF19504D6289E2A7C8A42989E2379DD32CFDD9');
INSERT INTO "ders" VALUES(2,X'308201A230820148A00302010202142D0D4405E41AAC21BE79A6CA933F8E2A570378E9300A06082A8648CE3D040302301A3118301606035504030C0F7777772E6578616D706C652E636F6D301E170D3236313030323132303030305A170D3237303333313132303030305A301A3118301606035504030C0F7777772E6578616D706C652E636F6D3059301306072A8648CE3D020106082A8648CE3D03010703420004C466AFA539AABFF3BC00854DA5D0432E75087FAFD2628E9E1D3F90014195A4B95B3F9AA29EF3159714EA51290DE19EE65D8B41D8C6ADBFA02F36DCDB87435A94A36C306A300C0603551D130101FF04023000301D0603551D0E0416041420830C0170E766664E67A2D24122371043A737AF301F0603551D2304183016801420830C0170E766664E67A2D24122371043A737AF301A0603551D1104133011820F7777772E6578616D706C652E636F6D300A06082A8648CE3D0403020348003045022100C53D1AD5E2A93A6B96E5705BA1691C23A4D0CD812E98D246701B3628037C540D022025FDF5F51608FC4A8305EE4C8E964E15F1307156518266920FC4EB7C48D2922C');
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
INSERT INTO "findings" VALUES(1,'expiry',0,1,X'408575E35AC048D2E61E94B46EA195FC0BDF736621A010BCD7F14DACF5DFFA9F','www.example.com expires 2026-12-31','Renew it.','docs/rules/expiry.md','payments',1793538002000000,NULL);
CREATE TABLE issuers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO "issuers" VALUES(1,'CN=www.example.com');
CREATE TABLE judgements (
    location INTEGER PRIMARY KEY REFERENCES locations,
    revision INTEGER NOT NULL,   -- grows with every change of the location
    judged INTEGER NOT NULL,     -- revision last judged; 0: never
    due_at INTEGER,              -- when it must be judged; NULL: time changes nothing
    owner TEXT NOT NULL,
    CHECK (judged = revision OR due_at IS NOT NULL)
) STRICT;
INSERT INTO "judgements" VALUES(1,2,2,NULL,'payments');
INSERT INTO "judgements" VALUES(2,2,0,1793534400000000,'');
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
INSERT INTO "locations" VALUES(1,'tls://203.0.113.7:443/?sni=www.example.com','[2]','{"tls_version":"TLSv1.3"}',X'FE86341C06B9616784ADC2881ED35C87',NULL,NULL,NULL,1793534400000000,NULL);
INSERT INTO "locations" VALUES(2,'tls://203.0.113.8:443/','[1]','{}',X'F5B7BFA94843FDDCE60DBAD7260F97DC',NULL,NULL,NULL,1793534400000000,1793538002000000);
CREATE TABLE looks (
    location INTEGER NOT NULL REFERENCES locations,
    collector INTEGER NOT NULL REFERENCES collectors,
    scan INTEGER NOT NULL,       -- the last that looked
    failed INTEGER NOT NULL,     -- 1: that look had an error
    seen INTEGER NOT NULL,       -- latest look
    served INTEGER,              -- latest look that saw a chain; NULL: none did
    PRIMARY KEY (location, collector)
) STRICT, WITHOUT ROWID;
INSERT INTO "looks" VALUES(1,1,2,0,1793538001000000,1793538001000000);
INSERT INTO "looks" VALUES(2,1,1,0,1793534400000000,1793534400000000);
CREATE TABLE meta (
    key TEXT PRIMARY KEY,        -- "clock": latest instant a writer was told; "rules": digest last judged by
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('clock',1793538002000000);
CREATE TABLE names (
    reversed TEXT NOT NULL,
    certificate INTEGER NOT NULL,  -- of certificates; held by Reader.check(), for want of an index the other way
    PRIMARY KEY (reversed, certificate)
) STRICT, WITHOUT ROWID;
INSERT INTO "names" VALUES('moc.elpmaxe.www',1);
INSERT INTO "names" VALUES('moc.elpmaxe.www',2);
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
INSERT INTO "scans" VALUES(1,1,1793534400000000,1793534401000000,'complete',NULL,NULL,2,0);
INSERT INTO "scans" VALUES(2,1,1793538001000000,1793538002000000,'complete',NULL,NULL,1,0);
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
INSERT INTO "sightings" VALUES(1,0,1793534400000000,1,1793534400000000,1793538001000000);
INSERT INTO "sightings" VALUES(1,0,1793538001000000,2,NULL,NULL);
INSERT INTO "sightings" VALUES(2,0,1793534400000000,1,1793534400000000,1793538002000000);
CREATE TABLE watches (
    location INTEGER NOT NULL REFERENCES locations,
    collector INTEGER NOT NULL REFERENCES collectors,
    scope TEXT NOT NULL,
    labels TEXT NOT NULL,        -- JSON object
    stopped_at INTEGER,          -- NULL: it watches; else when it stopped
    PRIMARY KEY (location, collector)
) STRICT, WITHOUT ROWID;
INSERT INTO "watches" VALUES(1,1,'','{"team":"edge"}',NULL);
INSERT INTO "watches" VALUES(2,1,'','{"team":"edge"}',1793538002000000);
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE UNIQUE INDEX certificates_by_fingerprint ON certificates (fingerprint);
CREATE INDEX certificates_by_serial ON certificates (serial, issuer);
CREATE INDEX certificates_by_spki ON certificates (substr(spki, 1, 8)) WHERE spki IS NOT NULL;
CREATE INDEX certificates_by_tbs ON certificates (substr(tbs, 1, 8)) WHERE tbs IS NOT NULL;
CREATE INDEX certificates_by_not_after ON certificates (not_after);
CREATE INDEX scans_by_collector ON scans (collector, id);
CREATE INDEX watches_by_collector ON watches (collector) WHERE stopped_at IS NULL;
CREATE UNIQUE INDEX sightings_open ON sightings (location, position) WHERE ended_at IS NULL;
CREATE INDEX sightings_by_certificate ON sightings (certificate, ended_at);
CREATE INDEX judgements_due ON judgements (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX judgements_by_owner ON judgements (owner) WHERE owner <> '';
CREATE UNIQUE INDEX findings_open ON findings (location, rule, ifnull(fingerprint, x'')) WHERE resolved_at IS NULL;
CREATE INDEX findings_open_by_severity ON findings (severity, opened_at) WHERE resolved_at IS NULL;
CREATE INDEX findings_by_location ON findings (location);
CREATE INDEX findings_by_fingerprint ON findings (fingerprint) WHERE fingerprint IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('scans',2);
INSERT INTO "sqlite_sequence" VALUES('certificates',2);
INSERT INTO "sqlite_sequence" VALUES('locations',2);
INSERT INTO "sqlite_sequence" VALUES('findings',1);
COMMIT;
