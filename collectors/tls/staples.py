"""Servers that staple OCSP answers now and then: one worker of several does, or each only after its first connection; and
those that go on without one, though the certificate demands it."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, Observation

#: With and without, three turns within that: a restart is one or two.
TURNS, WITHIN = 3, timedelta(hours=24)
#: OID of the TLS feature (RFC 7633), as it stands in a certificate.
_TLS_FEATURE = bytes.fromhex("2b06010505070118")
#: Places that staple or should; the one that was looked at longest ago is forgotten first.
MOST = 100_000


@dataclass(slots=True)
class _Known:
    stapled: bool
    #: So many looks in a row were without.
    without: int = 0
    turns: deque[datetime] = field(default_factory=lambda: deque(maxlen=TURNS))


class Staples:
    """Owned by one collector. In memory alone: after a restart it takes three turns again."""

    def __init__(self) -> None:
        self._known: OrderedDict[LocationURI, _Known] = OrderedDict()

    def noted(self, seen: Observation) -> Observation:
        """With the facts `ocsp_stapled_intermittently` and `ocsp_staple_missing_again`, if it is so."""
        stapled = seen.facts.get("ocsp_stapled")
        if seen.error is not None or not isinstance(stapled, bool):
            return seen
        known = self._known.get(seen.location)
        if known is None:
            if not stapled and not (seen.chain and _TLS_FEATURE in seen.chain[0]):
                return seen
            known = self._known[seen.location] = _Known(stapled)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        self._known.move_to_end(seen.location)
        known.without = 0 if stapled else known.without + 1
        if stapled is not known.stapled:
            known.stapled = stapled
            known.turns.append(seen.observed_at)
        more: dict[str, Fact] = {}
        if known.without > 1:
            more["ocsp_staple_missing_again"] = True
        if len(known.turns) == TURNS and known.turns[0] >= seen.observed_at - WITHIN:
            more["ocsp_stapled_intermittently"] = True
        return replace(seen, facts={**seen.facts, **more}) if more else seen
