"""What the Web PKI demands from which day on, as data: the next ballot is one line here.

Everything is keyed on a certificate's own beginning of validity, not on today: what was allowed when it was issued stays
allowed. It concerns certificates that lead to a public trust store.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidityLimit:
    #: For certificates that begin on this day or later.
    since: datetime
    longest: timedelta
    source: str


#: Oldest first.
VALIDITY_LIMITS = (
    ValidityLimit(since=_day(2018, 3, 1), longest=timedelta(days=825), source="CA/Browser Forum Ballot 193"),
    ValidityLimit(since=_day(2020, 9, 1), longest=timedelta(days=398), source="root programs, 2020"),
    ValidityLimit(
        since=_day(2026, 3, 15), longest=timedelta(days=200), source="CA/Browser Forum Ballot SC-081v3"
    ),
    ValidityLimit(
        since=_day(2027, 3, 15), longest=timedelta(days=100), source="CA/Browser Forum Ballot SC-081v3"
    ),
    ValidityLimit(
        since=_day(2029, 3, 15), longest=timedelta(days=47), source="CA/Browser Forum Ballot SC-081v3"
    ),
)
#: Leaves that begin then or later must be for servers only (Chrome Root Program Policy 1.8).
SERVER_AUTH_ONLY_SINCE = _day(2027, 3, 15)
#: A certificate of at most this life needs no revocation (Baseline Requirements, 1.6.1), by beginning of validity.
SHORT_LIVED = ((_day(2023, 7, 14), timedelta(days=10)), (_day(2026, 3, 15), timedelta(days=7)))
#: Whoever ends later with a key that a quantum computer breaks is reported (NIST IR 8547: disallowed after 2035).
QUANTUM_END = _day(2036, 1, 1)


def validity_limit(not_before: datetime) -> ValidityLimit | None:
    """The one in force when it was issued. None: there was none yet."""
    return next((each for each in reversed(VALIDITY_LIMITS) if each.since <= not_before), None)


def is_short_lived(not_before: datetime, lifetime: timedelta) -> bool:
    longest = next((most for since, most in reversed(SHORT_LIVED) if since <= not_before), None)
    return longest is not None and lifetime <= longest
