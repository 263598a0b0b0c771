-- Of ACME: accounts, orders and what they had to show. Instants are microseconds since 1970-01-01 UTC.

CREATE TABLE acme_bindings (
    kid TEXT PRIMARY KEY,            -- also the requester's name in profiles: "acme:KID"
    secret BLOB NOT NULL,            -- HMAC key that the client was given
    created INTEGER NOT NULL,
    ended INTEGER                    -- NULL: accounts may still be made with it
) STRICT, WITHOUT ROWID;

CREATE TABLE acme_accounts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    thumbprint BLOB NOT NULL UNIQUE, -- SHA-256 (RFC 7638)
    key BLOB NOT NULL,               -- JWK, canonical JSON
    contacts TEXT NOT NULL,          -- JSON array
    status TEXT NOT NULL,            -- valid, deactivated
    binding TEXT REFERENCES acme_bindings,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE acme_orders (
    id TEXT PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES acme_accounts,
    profile TEXT NOT NULL,
    replaces BLOB,                   -- serial (RFC 9773, 5)
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    request INTEGER                  -- of requests; NULL: not finalized
) STRICT, WITHOUT ROWID;
CREATE INDEX acme_orders_by_account ON acme_orders (account, created);
CREATE UNIQUE INDEX acme_orders_by_request ON acme_orders (request) WHERE request IS NOT NULL;

CREATE TABLE acme_authorizations (
    id TEXT PRIMARY KEY,
    "order" TEXT NOT NULL REFERENCES acme_orders ON DELETE CASCADE,
    place INTEGER NOT NULL,          -- among the order's names
    kind TEXT NOT NULL,              -- dns, ip
    value TEXT NOT NULL,             -- without "*."
    wildcard INTEGER NOT NULL,
    token TEXT NOT NULL,             -- of each of its challenges
    status TEXT NOT NULL,            -- pending, processing, valid, invalid, deactivated
    tried TEXT,                      -- type of the challenge that the client chose
    error BLOB,                      -- problem document
    at INTEGER                       -- when it was found valid or not
) STRICT, WITHOUT ROWID;
CREATE INDEX acme_authorizations_by_order ON acme_authorizations ("order", place);
CREATE INDEX acme_authorizations_by_name ON acme_authorizations (value, at) WHERE status = 'invalid';
CREATE INDEX acme_authorizations_open ON acme_authorizations (status) WHERE status = 'processing';

-- Certificates whose clients are told to renew at once (RFC 9773), before their time.
CREATE TABLE acme_renew_now (
    serial BLOB PRIMARY KEY,
    at INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT, WITHOUT ROWID;
