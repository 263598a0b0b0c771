"""When a CA wants its certificate replaced, and whether it was."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from certwatch.model.finding import Problem, Severity
from certwatch.model.sighting import Served
from certwatch.plugins.duration import Duration
from certwatch.plugins.rule import Rule, RuleConfig, Until, World
from rules.revocation import about_of, instant_of, text_of

#: A window that ends with more than half of the lifetime left is no usual renewal: the CA is about to revoke (RFC 9773, 1).
EARLY = 0.5
#: Lives below this are renewed at their half.
SHORT = timedelta(days=10)
EARLY_OF_SHORT = 0.7


class WindowConfig(RuleConfig):
    #: How long after the window's end it may still be in use; at most half of what then is left of it.
    grace: Duration = timedelta(hours=24)


def _window(served: Served, config: WindowConfig, world: World) -> Iterator[Problem | Until]:
    start, end = instant_of(served, "ari_start"), instant_of(served, "ari_end")
    if start is None or end is None or served.failing_since is not None:
        return
    not_before, not_after = (
        instant_of(served, "certificate_not_before"),
        instant_of(served, "certificate_not_after"),
    )
    early = _is_early(end, not_before, not_after)
    grace = config.grace
    if not_after is not None:
        grace = min(grace, max(timedelta(0), (not_after - end) / 2))
    due = start if early else end + grace
    if world.now < due:
        yield Until(instant=due)
        return
    name, explanation = text_of(served, "certificate_name"), text_of(served, "ari_explanation")
    severity: Severity = "page" if early else "ticket"
    yield Problem(
        severity=severity,
        fingerprint=about_of(served),
        summary=f"{name}: its CA wants it replaced now, long before its end"
        if early
        else f"{name} was not renewed when its CA expected it",
        text=f"The CA's window for the renewal is from {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ}"
        + (f"; it says why at {explanation}" if explanation else "")
        + f". It is in use at {text_of(served, 'certificate_location')}. "
        + (
            "So early, it is going to be revoked, within a day or five: renew it now (certbot renew --force-renewal, cmctl renew, "
            "acme.sh --renew --force)."
            if early
            else "Find out why its client has not renewed it: its log, its timer."
        ),
    )


def _is_early(end: datetime, not_before: datetime | None, not_after: datetime | None) -> bool:
    if not_before is None or not_after is None or not_after <= not_before:
        return False
    lifetime = not_after - not_before
    left = (not_after - end) / lifetime
    return left > (EARLY_OF_SHORT if lifetime < SHORT else EARLY)


RULE = Rule(
    id="renewal-window",
    title="Certificate was not renewed when its CA expects it",
    why="CAs that speak ACME say of each certificate when they want it replaced (ARI), and anybody can ask. Past the window's end and a "
    "grace, its client has stopped: a ticket, weeks before `expiry`. A window that the CA has brought forward, with half of the "
    "lifetime left and more, means that it is going to revoke the certificate: a page. Needs the collector `ari`.",
    fix="Renew it by hand, then find out why its client did not: whether it speaks ARI, its log, its timer.",
    severity="page",
    source="RFC 9773, 4.2 and 4.3",
    evaluate=_window,
    Config=WindowConfig,
    kinds=frozenset(["ari"]),
)
