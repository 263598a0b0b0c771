"""Verifies everything that must hold between the tables: for tests after each fault, for `certwatch doctor`."""

from certwatch.inventory.session import Session

#: (what is wrong, the rows that show it: each row's first column names it)
_VIOLATIONS = (
    (
        "is retired and still watched",
        (
            "SELECT uri FROM locations l WHERE retired_at IS NOT NULL AND EXISTS"
            " (SELECT 1 FROM watches w WHERE w.location = l.id AND w.stopped_at IS NULL)"
        ),
    ),
    (
        "is live and nobody watches it",
        (
            "SELECT uri FROM locations l WHERE retired_at IS NULL AND NOT EXISTS"
            " (SELECT 1 FROM watches w WHERE w.location = l.id AND w.stopped_at IS NULL)"
        ),
    ),
    (
        "is retired and has a sighting that lasts",
        (
            "SELECT uri FROM locations l WHERE retired_at IS NOT NULL AND EXISTS"
            " (SELECT 1 FROM sightings s WHERE s.location = l.id AND s.ended_at IS NULL)"
        ),
    ),
    (
        "has a sighting that lasts of what it did not show last",
        (
            "SELECT uri FROM sightings s JOIN locations l ON l.id = s.location"
            " WHERE s.ended_at IS NULL AND coalesce(json_extract(l.chain, '$[' || s.position || ']'), -1) <> s.certificate"
        ),
    ),
    (
        "shows a chain of which a sighting is missing",
        (
            "SELECT uri FROM (SELECT l.uri, l.chain, l.retired_at, l.failing_since,"
            " (SELECT count(*) FROM sightings s WHERE s.location = l.id AND s.ended_at IS NULL) AS lasting FROM locations l) shown"
            " WHERE lasting <> json_array_length(chain)"
            " AND (lasting > 0 OR (retired_at IS NULL AND failing_since IS NULL))"
        ),
    ),
    (
        "has a chain and was never seen to serve one, or serves nothing and says nothing",
        (
            "SELECT uri FROM (SELECT uri, chain, facts, EXISTS (SELECT 1 FROM looks k"
            " WHERE k.location = l.id AND k.served IS NOT NULL) AS served FROM locations l) shown"
            " WHERE CASE WHEN chain = '[]' THEN served AND facts = '{}' ELSE NOT served END"
        ),
    ),
    (
        "shows a certificate that is not kept",
        (
            "SELECT uri FROM locations l, json_each(l.chain) c"
            " WHERE NOT EXISTS (SELECT 1 FROM certificates k WHERE k.id = c.value)"
        ),
    ),
    (
        "fails without an error, or serves nothing and does not fail",
        (
            "SELECT uri FROM locations l WHERE (failing_since IS NOT NULL AND error_kind IS NULL)"
            " OR (chain = '[]' AND failing_since IS NULL AND facts = '{}')"
        ),
    ),
    (
        "has instants out of order",
        (
            "SELECT uri FROM (SELECT uri, first_seen, failing_since, retired_at,"
            " (SELECT max(k.seen) FROM looks k WHERE k.location = l.id) AS seen FROM locations l) looked"
            " WHERE first_seen > seen OR failing_since > seen OR retired_at < seen"
        ),
    ),
    (
        "has a sighting with instants out of order",
        (
            "SELECT uri FROM (SELECT l.uri, s.first_seen, s.ended_at, coalesce(s.last_seen,"
            " (SELECT max(k.served) FROM looks k WHERE k.location = l.id)) AS last_seen"
            " FROM sightings s JOIN locations l ON l.id = s.location) spans"
            " WHERE last_seen IS NULL OR first_seen > last_seen OR last_seen > ended_at"
        ),
    ),
    (
        "has a look later served than seen",
        "SELECT uri FROM looks k JOIN locations l ON l.id = k.location WHERE k.served > k.seen",
    ),
    (
        "is watched and was never looked at, or the reverse",
        (
            "SELECT uri FROM locations l WHERE"
            " (SELECT count(*) FROM watches w JOIN looks k USING (location, collector) WHERE w.location = l.id)"
            " <> max((SELECT count(*) FROM watches w WHERE w.location = l.id),"
            "        (SELECT count(*) FROM looks k WHERE k.location = l.id))"
        ),
    ),
    (
        "cannot be judged: it has no row for it",
        "SELECT uri FROM locations l WHERE NOT EXISTS (SELECT 1 FROM judgements j WHERE j.location = l.id)",
    ),
    (
        "has changed and is not due",
        (
            "SELECT uri FROM judgements j JOIN locations l ON l.id = j.location"
            " WHERE j.judged <> j.revision AND j.due_at IS NULL"
        ),
    ),
    (
        "has a finding under a silence that is not kept",
        (
            "SELECT uri FROM findings f JOIN locations l ON l.id = f.location WHERE f.silence IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM silences s WHERE s.id = f.silence)"
        ),
    ),
    (
        "has a finding that was resolved before it was opened",
        "SELECT uri FROM findings f JOIN locations l ON l.id = f.location WHERE f.resolved_at < f.opened_at",
    ),
    (
        "is a certificate without its DER",
        (
            "SELECT lower(hex(fingerprint)) FROM certificates c"
            " WHERE NOT EXISTS (SELECT 1 FROM ders d WHERE d.certificate = c.id)"
        ),
    ),
    (
        "is a certificate whose DER is another",
        (
            "SELECT lower(hex(fingerprint)) FROM certificates c JOIN ders d ON d.certificate = c.id"
            " WHERE sha256(d.der) <> c.fingerprint"
        ),
    ),
    (
        "is a name of a certificate that is not kept",
        "SELECT reversed FROM names n WHERE NOT EXISTS (SELECT 1 FROM certificates c WHERE c.id = n.certificate)",
    ),
    (
        "is a certificate that nobody ever saw",
        (
            "SELECT lower(hex(fingerprint)) FROM certificates c"
            " WHERE NOT EXISTS (SELECT 1 FROM sightings s WHERE s.certificate = c.id)"
            " AND c.id NOT IN (SELECT e.value FROM locations l, json_each(l.chain) e)"
        ),
    ),
    (
        "is a scan both running and finished, or neither",
        "SELECT id FROM scans WHERE (status = 'running') <> (finished_at IS NULL)",
    ),
    (
        "is a scan that ends before it begins",
        "SELECT id FROM scans WHERE finished_at < started_at",
    ),
    (
        "is a total that does not hold",
        (
            "SELECT 'certificates' WHERE (SELECT count(*) FROM certificates)"
            " <> coalesce((SELECT value FROM meta WHERE key = 'certificates'), 0)"
            " UNION ALL SELECT 'locations' WHERE (SELECT count(*) FROM locations)"
            " <> coalesce((SELECT value FROM meta WHERE key = 'locations'), 0)"
        ),
    ),
    (
        "is a collector with two running scans",
        (
            "SELECT c.name FROM scans s JOIN collectors c ON c.id = s.collector WHERE s.status = 'running'"
            " GROUP BY s.collector, c.name HAVING count(*) > 1"
        ),
    ),
    (
        "was looked at by a scan of another collector",
        (
            "SELECT uri FROM looks k JOIN scans s ON s.id = k.scan JOIN locations l ON l.id = k.location"
            " WHERE s.collector <> k.collector"
        ),
    ),
)

#: Violations of one kind that are named.
_NAMED = 5


def check(connection: Session) -> list[str]:
    """See `store.Reader.check`; the caller holds a snapshot. Reads everything."""
    found = connection.damage(_NAMED)
    for what, rows in _VIOLATIONS:
        found += [f"{row[0]} {what}" for row in connection.execute(rows).fetchmany(_NAMED)]
    return found
