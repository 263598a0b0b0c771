"""Looking until every place serves what it should. What the places themselves present counts, not what was done."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from certwatch.model.clock import Clock
from certwatch.model.location import LocationURI
from certwatch.model.observation import LookError, Observation
from certwatch.plugins import registry
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.deployer import Deployer, DeployFailed, Target
from certwatch.remediation.stopped import StepFailed
from certwatch.remediation.world import Look

#: Between two looks: short at first, since a reload takes moments.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
#: Further looks at all, so many seconds apart at most, that must show it as well.
CONFIRMATIONS, LONGEST_SETTLE = 4, 0.5
#: Places named in a message.
NAMED = 3


def looks_at(clock: Clock) -> Look:
    """By the collectors that are installed: tls:// and file://; other kinds of places are not looked at."""

    async def look(uris: Sequence[str]) -> Mapping[str, Observation]:
        found: dict[str, Observation] = {}
        for kind, keys in (
            ("tls", {"targets": [each for each in uris if each.startswith("tls:")]}),
            ("file", {"paths": [_path(each) for each in uris if each.startswith("file:")]}),
        ):
            if not any(keys.values()):
                continue
            plugin = registry.load("collectors", kind)
            collector = plugin("remediation", plugin.Config(**keys), CollectorContext(clock=clock))
            try:
                async for each in collector.collect():
                    if isinstance(each, Observation) and each.location in uris:
                        found[each.location] = each
            except CollectError:
                continue  # seen as not being there
        return found

    return look


def _path(uri: str) -> str:
    return unquote(urlsplit(uri).path)


def can_look(uri: str) -> bool:
    """Containers (keystores) are read by their deployer, who has the passphrase."""
    return uri.startswith("tls:") or (uri.startswith("file:") and "#" not in uri)


def with_stores(look: Look, clock: Clock, placed: Mapping[str, tuple[Deployer, Target]]) -> Look:
    """`look`, and what no collector can be sent to is read by the deployer that put it there."""

    async def both(uris: Sequence[str]) -> Mapping[str, Observation]:
        found = dict(await look([each for each in uris if can_look(each)]))
        for uri in uris:
            if uri not in found and uri in placed:
                deployer, target = placed[uri]
                found[uri] = await _read(deployer, target, clock)
        return found

    return both


async def _read(deployer: Deployer, target: Target, clock: Clock) -> Observation:
    try:
        chain, error = await deployer.present(target), None
    except DeployFailed as failed:
        chain, error = (), LookError(kind="other", message=failed.message)
    return Observation(location=LocationURI(target.uri), observed_at=clock(), chain=chain, error=error)


def shows(seen: Observation | None, chain: Sequence[bytes]) -> str | None:
    """None: it presents this chain, whole and in order. Else why not."""
    if seen is None:
        return "was not seen"
    if seen.error is not None and not seen.chain:
        return seen.error.message
    if not seen.chain or seen.chain[0] != chain[0]:
        return "still serves another certificate"
    if tuple(seen.chain[: len(chain)]) != tuple(chain):
        return "serves the new certificate without what is above it"
    return None


async def until_shown(
    look: Look,
    uris: Sequence[str],
    chain: Sequence[bytes],
    within: timedelta,
    *,
    enough: int | None = None,
    first_seen: Callable[[str, float], None] = lambda uri, seconds: None,
) -> None:
    """`chain`: DER, leaf first. Until all of `uris`, or `enough` of them, show it, and go on showing it: for a while after
    a reload, former workers still answer some clients, and behind one address there may be many servers. `first_seen`: told of each
    place when it first shows it, after so many seconds. Raises StepFailed naming those that do not."""
    waiting = dict.fromkeys(uris, "was not looked at")
    total = len(waiting)
    wanted = total if enough is None else min(enough, total)
    began = time.monotonic()
    deadline = began + within.total_seconds()
    new = set(waiting)
    pause, settle = FIRST_PAUSE, min(LONGEST_SETTLE, within.total_seconds() / 10)
    steady = 0
    while True:
        looked = sorted(waiting) if total - len(waiting) < wanted else sorted(set(uris))
        seen = await look(looked)
        for uri in looked:
            why = shows(seen.get(uri), chain)
            if why is None:
                waiting.pop(uri, None)
                if uri in new:
                    new.remove(uri)
                    first_seen(uri, time.monotonic() - began)
            else:
                waiting[uri] = why
        shown = total - len(waiting)
        steady = steady + 1 if shown >= wanted else 0
        if steady > CONFIRMATIONS:
            return
        if time.monotonic() + pause > deadline and shown < wanted:
            named = "; ".join(f"{uri} {why}" for uri, why in sorted(waiting.items())[:NAMED])
            more = f" (and {len(waiting) - NAMED} more)" if len(waiting) > NAMED else ""
            raise StepFailed(f"not within {within.total_seconds():g} s: {named}{more}")
        if steady:
            await asyncio.sleep(settle)
        else:
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
