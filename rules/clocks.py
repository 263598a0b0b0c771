"""Clocks that disagree: a server's, a responder's, a CA's, or this host's."""

from collections.abc import Iterator
from datetime import timedelta

from certwatch.model.finding import Problem
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.revocation import CRL_KINDS, OCSP_KIND, instant_of

#: Facts that name an instant which lies in the past when it is seen, and what it is.
_SIGNED = (
    ("ocsp_produced_at", "an OCSP answer is produced"),
    ("ocsp_this_update", "an OCSP answer begins"),
    ("crl_this_update", "a CRL begins"),
)


class ClockConfig(RuleConfig):
    #: How far clocks may disagree.
    tolerance: Duration = timedelta(minutes=5)


def _shown(span: timedelta) -> str:
    minutes = round(abs(span).total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2 * 24 * 60 else f"{minutes // (24 * 60)} days"


def _skew(served: Served, config: ClockConfig, world: World) -> Iterator[Problem | Until]:
    place = served.location.uri.partition("?")[0]
    offset = served.facts.get("clock_offset_minutes")
    if isinstance(offset, int) and timedelta(minutes=abs(offset)) >= config.tolerance:
        ahead = "ahead of" if offset > 0 else "behind"
        yield _problem(
            # Without the exact distance: a clock that runs away would be another matter at every look.
            f"Clock of {place} is more than {_shown(config.tolerance)} {ahead} this host's",
            f"Its web server says so (Date), by {_shown(timedelta(minutes=offset))}.",
        )
        return
    for fact, what in _SIGNED:
        said = instant_of(served, fact)
        if said is None or said <= world.now + config.tolerance:
            continue
        yield Until(instant=said - config.tolerance)
        yield _problem(
            f"{place}: {what} in the future, at {said:%Y-%m-%dT%H:%MZ}",
            "Who signs it has a clock that is ahead of this host's. Clients take it for not yet valid, and so for none.",
        )
        return


def _problem(summary: str, text: str) -> Problem:
    return Problem(
        severity="ticket",
        fingerprint=None,
        summary=summary,
        text=f"{text} Certificates, CRLs and OCSP answers begin too late or too early for others by as much. If several servers "
        "are told of at once, it is this host's clock that is wrong: see `chronyc tracking` or `timedatectl` here first, "
        "then there.",
    )


RULE = Rule(
    id="clock-skew",
    title="Clocks disagree",
    why="Certificates, CRLs and OCSP answers are valid by the clock of whoever looks at them. A CA or responder that is ahead "
    "gives out what nobody takes yet; a host that is behind refuses what is new, one that is ahead what is old. Held "
    "against this host's clock: what web servers of CRLs and responders say of the time, and beginnings that lie in the "
    "future. A certificate that begins in the future is the matter of `not-yet-valid`.",
    fix="Find the clock that is wrong (`chronyc tracking`, `timedatectl`, `curl -sI URL | grep -i ^date`), mend its time "
    "synchronisation, and have what was signed meanwhile signed anew.",
    severity="ticket",
    source="RFC 6960, 4.2.2.1; RFC 5280, 5.1.2.4; RFC 9110, 6.6.1",
    evaluate=_skew,
    Config=ClockConfig,
    kinds=frozenset([OCSP_KIND, *CRL_KINDS, "file"]),
)
