"""What a presented chain is worth to a client, and what is said of it: computed once a chain, not once a probe."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from certwatch.model.certificate import Certificate
from certwatch.pki import openssl
from certwatch.pki.candidates import candidate_paths
from certwatch.pki.chains import assess
from certwatch.pki.hostnames import covers
from certwatch.pki.trust import TrustStore
from certwatch.x509 import der

#: Chains that are remembered.
REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    chain: tuple[Certificate, ...]
    #: Full paths to an anchor that holds, those that last longest first. Empty: there is none.
    paths: tuple[tuple[Certificate, ...], ...]
    #: First end among the certificates that clients need: what was presented and is on no path does not count.
    earliest: datetime | None
    #: When the path that lasts longest ends. None: no path leads to the trust store now.
    last: datetime | None
    #: Why a client refuses it. Empty: it does not.
    fault: str
    #: The instants between which all this stays as it is.
    since: datetime | None
    until: datetime | None

    def holds(self, now: datetime) -> bool:
        return (self.since is None or self.since < now) and (self.until is None or now <= self.until)


class Judgements:
    """Memory of one trust store. Owned by the event loop; a chain that is new to it is judged in a thread, since a hostile
    one may lead over many ways."""

    def __init__(self, trust: TrustStore) -> None:
        self._trust = {"trust": trust}
        self._store = trust
        self._known: OrderedDict[tuple[tuple[bytes, ...], str], Judged] = OrderedDict()

    async def of(self, ders: tuple[bytes, ...], host: str, now: datetime) -> Judged:
        """`ders`: as presented, at least one. `host`: the name or address that the leaf is to speak for."""
        key = (ders, host)
        known = self._known.get(key)
        if known is not None and known.holds(now):
            self._known.move_to_end(key)
            return known
        judged = self._known[key] = await asyncio.to_thread(self.judge, ders, host, now)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return judged

    def judge(self, ders: tuple[bytes, ...], host: str, now: datetime) -> Judged:
        """Without the memory. Pure: any thread."""
        return self._judge(tuple(der.read(each) for each in ders), host, now)

    def _judge(self, chain: tuple[Certificate, ...], host: str, now: datetime) -> Judged:
        assessment = assess(chain, self._trust, now, "server")
        paths = self._paths(chain, now)
        needed = assessment.needed or chain
        ends = [each.not_after for each in needed if each.not_after is not None]
        since, until = _span(chain, self._store, now)
        return Judged(
            chain=chain,
            paths=paths,
            earliest=min(ends, default=None),
            last=_end(paths[0]) if paths else None,
            fault=_fault(chain, host, bool(paths), assessment.fault.text if assessment.fault else "", now),
            since=since,
            until=until,
        )

    def _paths(self, chain: tuple[Certificate, ...], now: datetime) -> tuple[tuple[Certificate, ...], ...]:
        found: dict[tuple[bytes, ...], tuple[Certificate, ...]] = {}
        known = {each.der: each for each in chain}
        ways: list[Sequence[Certificate]] = [chain, *candidate_paths(chain[0], chain[1:], self._store)]
        for way in ways:
            verified = openssl.verify(
                chain[0].der, [each.der for each in way[1:]], self._store, now, purpose="server"
            )
            if not isinstance(verified, openssl.Refusal) and verified not in found:
                found[verified] = tuple(
                    known.get(each) or self._store.by_der.get(each) or der.read(each) for each in verified
                )
        return tuple(sorted(found.values(), key=_end_for_sorting, reverse=True))


def _end(path: Sequence[Certificate]) -> datetime | None:
    return min((each.not_after for each in path if each.not_after is not None), default=None)


def _end_for_sorting(path: Sequence[Certificate]) -> float:
    end = _end(path)
    return end.timestamp() if end is not None else 0.0


def _fault(chain: tuple[Certificate, ...], host: str, trusted: bool, why: str, now: datetime) -> str:
    leaf = chain[0]
    if not trusted:
        if leaf.not_after is not None and leaf.not_after < now:
            return f"{leaf.shown} has expired"
        if leaf.not_before is not None and now < leaf.not_before:
            return f"{leaf.shown} is not valid yet"
        return f"the chain of {leaf.shown} is not accepted: {why or 'it leads to no certificate that is trusted'}"
    if leaf.names_from_common_name or not covers(leaf.names, host):
        return f"{leaf.shown} does not speak for {host}"
    return ""


def _span(
    chain: tuple[Certificate, ...], store: TrustStore, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """The last instant before now, and the first after it, at which a validity that may matter begins or ends."""
    since = until = None
    anchors = (anchor for one in chain for anchor in store.issuers_of(one))
    for each in (*chain, *anchors):
        for instant in (each.not_before, each.not_after):
            if instant is None:
                continue
            if instant < now:
                since = instant if since is None or instant > since else since
            else:
                until = instant if until is None or instant < until else until
    return since, until
