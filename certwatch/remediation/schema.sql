-- Roll-outs. Instants are microseconds since 1970-01-01 UTC. No key is ever in here.

CREATE TABLE plans (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    created INTEGER NOT NULL,
    policy TEXT NOT NULL,
    cause TEXT NOT NULL,          -- rule ids, separated by spaces
    former BLOB NOT NULL,         -- fingerprint of what is to go
    title TEXT NOT NULL,          -- what people call it
    names TEXT NOT NULL,          -- of the new certificate, separated by spaces
    served TEXT NOT NULL,         -- URIs that must serve it in the end, separated by line ends
    by TEXT NOT NULL,             -- who asked: "certwatch" or a person
    needed INTEGER NOT NULL,      -- people who must approve
    drill INTEGER NOT NULL,       -- 1: an exercise
    incident INTEGER REFERENCES incidents,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'approved', 'running', 'verifying', 'rolling-back',
        'verified', 'rolled-back', 'failed', 'withdrawn')),
    began INTEGER,                -- when its first step was taken
    ended INTEGER,
    chain BLOB,                   -- PEM of the new certificate. NULL: there is none yet
    not_before_try INTEGER,       -- it is not tried before that
    tries INTEGER NOT NULL DEFAULT 0,
    why TEXT,                     -- of its state, for people
    orders INTEGER NOT NULL DEFAULT 0,  -- certificates that were asked for
    service TEXT NOT NULL DEFAULT ''    -- one at a time of those that have the same; '': none
) STRICT;
CREATE UNIQUE INDEX plans_active ON plans (former)
    WHERE state IN ('waiting', 'approved', 'running', 'verifying', 'rolling-back');
CREATE INDEX plans_by_former ON plans (former, created);
CREATE INDEX plans_by_policy ON plans (policy, began);

CREATE TABLE steps (
    plan INTEGER NOT NULL REFERENCES plans,
    place INTEGER NOT NULL,       -- in order
    kind TEXT NOT NULL CHECK (kind IN ('issue', 'deploy', 'verify', 'revoke')),
    target TEXT NOT NULL,         -- URI of a place; '': none
    deployer INTEGER,             -- which of the policy's
    state TEXT NOT NULL CHECK (state IN ('todo', 'doing', 'done', 'failed', 'undone')),
    began INTEGER,
    ended INTEGER,
    said TEXT,
    PRIMARY KEY (plan, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE approvals (
    plan INTEGER NOT NULL REFERENCES plans,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,
    withdrawn INTEGER,            -- NULL: it holds
    PRIMARY KEY (plan, person)
) STRICT, WITHOUT ROWID;

-- A key or a CA that was compromised, or an exercise of it: from here M10 is counted.
CREATE TABLE incidents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    about TEXT NOT NULL,
    by TEXT NOT NULL,
    why TEXT NOT NULL,
    drill INTEGER NOT NULL,
    ended INTEGER                 -- when the last of its plans was verified
) STRICT;
