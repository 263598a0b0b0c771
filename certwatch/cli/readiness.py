"""`certwatch doctor --readiness`: the production checklist. What was seen to hold counts, not what is configured."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from certwatch.config.settings import Config
    from certwatch.inventory.store import Reader

#: Older exercises prove nothing any more.
DRILL_AGE = timedelta(days=92)
#: As old a trial proves that backups can be restored; so old its content may be.
TRIAL_AGE, BACKUP_AGE = timedelta(days=92), timedelta(days=7)
#: Receivers change: people leave, numbers too.
PAGE_AGE = timedelta(days=92)
#: M10.
RECOVERY = timedelta(hours=4)
#: Rules that speak of what clients see of CRLs and OCSP responders.
REVOCATION_RULES = ("ocsp-failing", "ocsp-wrong", "crl-stale", "crl-failing")
NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    what: str
    verdict: Literal["proven", "not proven", "disproven"]
    #: What was seen; else what to do.
    said: str


def _proven(what: str, said: str) -> Proof:
    return Proof(what=what, verdict="proven", said=said)


def _not_proven(what: str, said: str) -> Proof:
    return Proof(what=what, verdict="not proven", said=said)


def _disproven(what: str, said: str) -> Proof:
    return Proof(what=what, verdict="disproven", said=said)


def walk(path: Path | None, now: datetime) -> Iterator[Proof]:
    """Raises ConfigError, InventoryError."""
    from certwatch.config.load import load
    from certwatch.inventory.open import open_inventory

    config = load(path, env=os.environ)
    if config.ca is not None:
        yield from _ca(config, path)
    reader = open_inventory(config.inventory, create=False).reader()
    try:
        yield _revocation(config, reader, now)
        yield _automation(config, reader)
    finally:
        reader.close()
    yield _drill(config, now)
    yield _game_days(config, now)
    yield _restored(config, now)
    yield _pages(config, now)


def _ca(config: "Config", path: Path | None) -> Iterator[Proof]:
    from certwatch.ca import audit
    from certwatch.ca.failure import CAError
    from certwatch.cli.ca.opening import Opening

    settings, secrets = Opening(config=path, directory=None, pkcs11=None, key_file=None).settings()
    try:
        audited = audit.verify(settings.directory)
    except CAError as error:
        yield _disproven("ledger", error.message)
        return
    if audited.wrong:
        yield _disproven("ledger", f"{audited.wrong[0]} (of {len(audited.wrong)})")
    else:
        yield _proven(
            "ledger", f"{audited.entries} entries and {audited.checkpoints} checkpoints, recomputed"
        )
    try:
        yield _shipped(config, settings.directory)
        yield from _keys(settings.directory, secrets)
    except CAError as error:
        yield _not_proven("CA keys", error.message)


def _shipped(config: "Config", directory: Path) -> Proof:
    """A ledger that lies on this host alone is gone with it. Raises CAError."""
    from certwatch.ca import database

    what = "ledger is shipped"
    if not any(each.kind == "events" for each in config.exporters):
        return _not_proven(what, "no exporter takes its entries. Configure one of kind events")
    connection = database.open_existing(directory, write=False)
    try:
        [(entries,)] = connection.execute("SELECT count(*) FROM ledger").fetchall()
        told = connection.execute("SELECT value FROM meta WHERE key = 'told'").fetchone()
    finally:
        connection.close()
    behind = entries - (int(told[0]) if told is not None else 0)
    if behind > 0:
        return _not_proven(
            what, f"{behind} of {entries} entries were not taken by the exporters yet. Is the daemon running?"
        )
    return _proven(what, f"the exporters have taken all {entries} entries")


def _keys(directory: Path, secrets: object) -> Iterator[Proof]:
    """Raises CAError."""
    from certwatch.ca import database
    from certwatch.ca.keys import FILE, KeyRing

    connection = database.open_existing(directory, write=False)
    try:
        rows = connection.execute(
            "SELECT name, key FROM issuers WHERE retired IS NULL ORDER BY id"
        ).fetchall()
    finally:
        connection.close()
    ring = KeyRing(secrets)  # type: ignore[arg-type]
    for name, key in rows:
        what = f"CA key {name}"
        if str(key).startswith(FILE):
            yield _disproven(what, "lies in a file. Put it into a token: certwatch ca rotate")
            continue
        said = ring.attest(str(key)) or {}
        wrong = [
            each
            for each, wanted in (("extractable", False), ("never_extractable", True), ("sensitive", True))
            if said.get(each) is not wanted
        ]
        if wrong:
            yield _disproven(
                what, f"the token says of it: {', '.join(f'{each}={said.get(each)}' for each in wrong)}"
            )
        else:
            yield _proven(what, "the token says that it never left it and cannot")


def _revocation(config: "Config", reader: "Reader", now: datetime) -> Proof:
    from certwatch.inventory.store import FindingQuery

    what = "OCSP and CRLs as clients see them"
    names = {each.name: each.every for each in config.collectors if each.kind == "revocation"}
    scans = {each.collector: each for each in reader.last_scans() if each.collector in names}
    found = [each for rule in REVOCATION_RULES for each in reader.findings(FindingQuery(rule=rule))]
    if found:
        return _disproven(what, f"{found[0].summary} (of {len(found)} findings)")
    for name, every in names.items():
        scan = scans.get(name)
        if scan is None or scan.status != "complete" or scan.finished_at is None:
            return _not_proven(what, f"the last scan of {name} is not complete")
        if now - scan.finished_at > 3 * every + timedelta(minutes=5):
            return _not_proven(what, f"the last scan of {name} ended {scan.finished_at:%Y-%m-%d %H:%MZ}")
    if not names:
        return _not_proven(what, "nobody asks them. Configure a collector of kind revocation")
    return _proven(
        what, f"{sum(each.observations for each in scans.values())} looks, and nothing to object to"
    )


def _automation(config: "Config", reader: "Reader") -> Proof:
    """Of what clients see in production: which were replaced by a roll-out of ours, or could be planned at least."""
    from certwatch.cli.options import current_clock
    from certwatch.remediation.affected import affected_one
    from certwatch.remediation.book import Book
    from certwatch.remediation.material import split_pem
    from certwatch.remediation.opening import folder_of, made_policies
    from certwatch.remediation.plan import Draft
    from certwatch.remediation.propose import propose_one

    what = "production renews by itself"
    leaves = {
        each.leaf.fingerprint_sha256: each.leaf
        for each in reader.live()
        if each.leaf is not None
        and each.location.standing == "served"
        and each.location.labels.get("environment", "").startswith("prod")
    }
    if not leaves:
        return _not_proven(what, "no place has the label environment=prod. Label your collectors")
    if config.remediation is None or not config.remediation.policies:
        return _not_proven(
            what, f"no policy renews any of the {len(leaves)} certificates. See docs/remediation.md"
        )
    clock = current_clock()
    book = Book(folder_of(config, os.environ))
    try:
        done = {
            split_pem(each.chain)[0]
            for each in book.plans("state = 'verified' AND NOT drill AND chain IS NOT NULL")
            if each.chain
        }
    finally:
        book.close()
    policies = made_policies(config, os.environ, clock, None)
    rest = [each for each in leaves.values() if each.der not in done]
    unplannable = []
    for leaf in rest:
        affected = affected_one(reader, leaf.fingerprint_sha256, clock())
        one = propose_one(affected, policies, for_findings=False) if affected is not None else None
        if not isinstance(one, Draft):
            unplannable.append(leaf.shown)
    if unplannable:
        named = ", ".join(unplannable[:NAMED])
        return _disproven(what, f"{len(unplannable)} of {len(leaves)} cannot be planned: {named}")
    if rest:
        return _not_proven(
            what,
            f"{len(leaves) - len(rest)} of {len(leaves)} were renewed and seen; {len(rest)} could be planned",
        )
    return _proven(what, f"all {len(leaves)} certificates were renewed and seen")


def _drill(config: "Config", now: datetime) -> Proof:
    from certwatch.cli.incidents import standings, took
    from certwatch.remediation.book import Book
    from certwatch.remediation.opening import folder_of

    what = "compromise drill"
    how = "Run one: certwatch remediate compromise CA --drill environment=staging --wait --why TEXT"
    if config.remediation is None:
        return _not_proven(what, "there is no remediation")
    book = Book(folder_of(config, os.environ))
    try:
        drills = [each for each in standings(book) if each.incident.drill and each.total]
    finally:
        book.close()
    if not drills:
        return _not_proven(what, f"there was none. {how}")
    last = drills[0]
    when = f"{last.incident.at:%Y-%m-%d}"
    if not last.is_over:
        return _disproven(what, f"that of {when} is not over: {last.replaced} of {last.total} replaced")
    said = f"{when}: {last.replaced} certificates, M10 {took(last.recovery(now))}"
    if now - last.incident.at > DRILL_AGE:
        return _not_proven(what, f"the last was too long ago ({said}). {how}")
    return (
        _proven(what, said) if last.recovery(now) <= RECOVERY else _disproven(what, f"took too long: {said}")
    )


def _game_days(config: "Config", now: datetime) -> Proof:
    from certwatch.cli.proofs import kept
    from certwatch.cli.remediate.drill import SCENARIOS

    what = "game days"
    last = {str(each.about.get("scenario")): each for each in kept(config) if each.kind == "drill"}
    how = "Run: certwatch remediate drill"
    failed = [each for each in SCENARIOS if each in last and last[each].about.get("passed") is not True]
    if failed:
        return _disproven(what, f"the last did not pass: {_some(failed)}. {how} {failed[0]}")
    never = [each for each in SCENARIOS if each not in last or now - last[each].at > DRILL_AGE]
    if never:
        return _not_proven(what, f"not within {DRILL_AGE.days} days: {_some(never)}. {how} {never[0]}")
    return _proven(
        what,
        f"all {len(SCENARIOS)} scenarios passed, the oldest {min(each.at for each in last.values()):%Y-%m-%d}",
    )


def _restored(config: "Config", now: datetime) -> Proof:
    from certwatch.cli.proofs import kept

    what = "backup restored"
    how = "Run: certwatch backup FILE, then certwatch restore FILE --trial"
    last = next((each for each in reversed(kept(config)) if each.kind == "restored"), None)
    if last is None:
        return _not_proven(what, f"none was restored in a trial. {how}")
    said = f"{last.at:%Y-%m-%d} by {last.by}: {last.about.get('certificates')} certificates"
    try:
        until = datetime.fromisoformat(str(last.about["until"]))
        behind = last.at - until
    except (KeyError, ValueError, TypeError):
        return _not_proven(what, f"the record of the last trial cannot be read. {how}")
    if now - last.at > TRIAL_AGE:
        return _not_proven(what, f"the last trial was too long ago ({said}). {how}")
    if behind > BACKUP_AGE:
        return _disproven(
            what, f"what was restored was {behind.days} days old: backups are not made often enough ({said})"
        )
    return _proven(what, f"{said}, up to {until:%Y-%m-%d %H:%MZ}")


def _pages(config: "Config", now: datetime) -> Proof:
    from certwatch.cli.page import OPEN, last_of, ways_of
    from certwatch.cli.proofs import kept

    what = "pages arrive"
    how = "Run: certwatch page test"
    if not any(each.kind == "alertmanager" for each in config.exporters):
        return _not_proven(what, "no exporter of kind alertmanager: certwatch pages nobody by itself")
    entries = kept(config)
    never, lost, seconds = [], [], []
    for way in ways_of(config):
        sent, received = last_of(entries, way)
        if received is not None and now - received.at <= PAGE_AGE:
            seconds.append(float(received.about.get("seconds") or 0))
        else:
            never.append(way.words)
        if sent is not None and (received is None or received.at < sent.at) and now - sent.at > OPEN:
            lost.append(way.words)
    if lost:
        return _disproven(what, f"nobody said that the last test arrived: {_some(lost)}. {how}")
    if never:
        return _not_proven(what, f"not tried within {PAGE_AGE.days} days: {_some(never)}. {how}")
    return _proven(what, f"all {len(seconds)} ways, the slowest within {max(seconds):g} s")


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
