"""`certwatch slo`."""

import math
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import rough
from certwatch.cli.options import config_option, current_clock, json_option, reader_of
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown

#: For one query.
TIMEOUT_SECONDS = 10.0
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A row of the table of SLIs."""

    id: str
    title: str
    unit: Literal["ratio", "seconds", "count"]
    #: To be reached, or not to be exceeded.
    target: float
    at_least: bool
    #: As people write it.
    shown: str
    #: PromQL with one value. Empty: not asked of Prometheus.
    now: str = ""
    month: str = ""
    #: PromQL: the part of 30 days' requests that failed, and the part that may. Empty: it has no budget of failures.
    failed: str = ""
    allowed: float = 0.0
    #: Why it has no value in this version. Empty: it has.
    waits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    objective: Objective
    #: None: not known.
    now: float | None = None
    month: float | None = None
    #: The part of 30 days' requests that failed.
    failed: float | None = None

    @property
    def missed(self) -> bool:
        objective = self.objective
        if self.now is None:
            return False
        return self.now < objective.target if objective.at_least else self.now > objective.target

    @property
    def budget_left(self) -> float | None:
        """Of the failures that the objective allows in 30 days, the part that is left; negative: overspent. None: it has no
        such budget, or nothing is known."""
        if self.failed is None or not self.objective.allowed:
            return None
        return 1 - self.failed / self.objective.allowed


def _part(failed: str, all_: str, span: str) -> str:
    """The part that failed. No data: there was nothing to fail."""
    return f"(sum(increase({failed}[{span}])) or vector(0)) / (sum(increase({all_}[{span}])) > 0)"


def _issuance(span: str) -> str:
    """Requests to the embedded CA, and cert-manager's. What a CA refuses, or people must approve yet, is no failure."""
    theirs = "certwatch_kubernetes_certificate_requests_total"
    ours = 'certwatch_ca_requests_total{outcome!~"%swaiting|refused|usage|not-found"}'
    failed, all_ = (
        f"(sum(increase({ours % part}[{span}])) or vector(0)) + (sum(increase({theirs}{{{their_part}}}[{span}])) or vector(0))"
        for part, their_part in (("ok|", 'outcome="failed"'), ("", 'outcome!="denied"'))
    )
    return f"({failed}) / (({all_}) > 0)"


def _slow(metric: str, le: str, span: str) -> str:
    """The part of what a histogram has counted that took longer."""
    count = f"sum(increase({metric}_count[{span}]))"
    return f'({count} - sum(increase({metric}_bucket{{le="{le}"}}[{span}]))) / ({count} > 0)'


_HANDSHAKES = (
    'certwatch_observations_total{kind="tls", outcome!="ok"}',
    'certwatch_observations_total{kind="tls"}',
)
_SIGNATURES = 'certwatch_ca_signatures_total{outcome!="ok"}', "certwatch_ca_signatures_total"
_EXPECTED = (
    '1 - (sum(certwatch_locations_failing) + (sum(certwatch_findings_open{rule="host-unseen"}) or vector(0)))'
    " / sum(certwatch_locations)"
)
_COMPROMISED = 'certwatch_findings_oldest_timestamp_seconds{rule=~"compromised|key-broken"}'
_KEYS = (
    'count((sum by (issuer) (increase(certwatch_ca_signatures_total{purpose="certificate"}[1h])) > 50)'
    ' and (sum by (issuer) (increase(certwatch_ca_signatures_total{purpose="certificate"}[1h]))'
    ' > 5 * max_over_time(sum by (issuer) (increase(certwatch_ca_signatures_total{purpose="certificate"}[1h]))[7d:1h] offset 1h)))'
    " or 0 * sum(certwatch_ca_signatures_total)"
)

OBJECTIVES = (
    Objective(
        id="M1",
        title="issuance success",
        unit="ratio",
        target=0.999,
        at_least=True,
        shown="99.9 %",
        now=f"1 - {_issuance('1d')}",
        month=f"1 - {_issuance('30d')}",
        failed=_issuance("30d"),
        allowed=0.001,
    ),
    Objective(
        id="M2",
        title="expiry lead",
        unit="seconds",
        target=48 * 3600,
        at_least=True,
        shown="> 48 h",
        now='min(certwatch_expiry_earliest_timestamp_seconds{presence="served"}) - time()',
        month='min_over_time((min(certwatch_expiry_earliest_timestamp_seconds{presence="served"}) - time())[30d:1h])',
    ),
    Objective(
        id="M3",
        title="OCSP latency, p95",
        unit="seconds",
        target=0.2,
        at_least=False,
        shown="< 200 ms",
        now="histogram_quantile(0.95, sum by (le) (rate(certwatch_ocsp_request_seconds_bucket[1h])))",
        month="histogram_quantile(0.95, sum by (le) (rate(certwatch_ocsp_request_seconds_bucket[30d])))",
        failed=_slow("certwatch_ocsp_request_seconds", "0.2", "30d"),
        allowed=0.05,
    ),
    Objective(
        id="M4",
        title="TLS handshake success",
        unit="ratio",
        target=0.9995,
        at_least=True,
        shown="99.95 %",
        now=f"1 - {_part(*_HANDSHAKES, '1h')}",
        month=f"1 - {_part(*_HANDSHAKES, '30d')}",
        failed=_part(*_HANDSHAKES, "30d"),
        allowed=0.0005,
    ),
    Objective(
        id="M5",
        title="revocation propagation",
        unit="seconds",
        target=300,
        at_least=False,
        shown="< 5 min",
        waits="waits for the embedded CA",
    ),
    Objective(
        id="M6", title="key usage anomalies", unit="count", target=0, at_least=False, shown="0", now=_KEYS
    ),
    Objective(
        id="M7",
        title="automated renewal, prod",
        unit="ratio",
        target=1.0,
        at_least=True,
        shown="100 %",
        now='(sum(increase(certwatch_renewals_total{outcome="in-time", environment=~"prod.*"}[1d])) or vector(0))'
        ' / sum(increase(certwatch_renewals_total{environment=~"prod.*"}[1d]))',
        month='(sum(increase(certwatch_renewals_total{outcome="in-time", environment=~"prod.*"}[30d])) or vector(0))'
        ' / sum(increase(certwatch_renewals_total{environment=~"prod.*"}[30d]))',
    ),
    Objective(
        id="M8",
        title="CA signing errors",
        unit="ratio",
        target=0.001,
        at_least=False,
        shown="< 0.1 %",
        now=_part(*_SIGNATURES, "1h"),
        month=_part(*_SIGNATURES, "30d"),
        failed=_part(*_SIGNATURES, "30d"),
        allowed=0.001,
    ),
    Objective(
        id="M9",
        title="inventory completeness",
        unit="ratio",
        target=1.0,
        at_least=True,
        shown="100 %",
        now=_EXPECTED,
        month=f"avg_over_time(({_EXPECTED})[30d:1h])",
    ),
    Objective(
        id="M10",
        title="recovery from compromise",
        unit="seconds",
        target=4 * 3600,
        at_least=False,
        shown="< 4 h",
        # Nothing is compromised: nothing to recover from. Of the month, the slowest.
        now=f"(time() - min({_COMPROMISED})) or 0 * max(certwatch_locations)",
        month="histogram_quantile(1, sum by (le) (increase(certwatch_compromise_recovery_seconds_bucket[30d])))",
    ),
)


@click.command(name="slo")
@click.option(
    "--prometheus",
    metavar="URL",
    envvar="CERTWATCH_PROMETHEUS",
    help="The Prometheus that scrapes certwatch: what happened in 30 days is there, not in the inventory.",
)
@json_option
@config_option
def command(prometheus: str | None, as_json: bool, config: Path | None) -> int:
    """Show the SLIs against their targets. Exit status 1: one is missed now."""
    if prometheus is None:
        known = _from_inventory(config)
        rows = [Measured(objective=each, now=known.get(each.id)) for each in OBJECTIVES]
        click.echo("certwatch: without --prometheus only what the inventory knows now is shown", err=True)
    else:
        rows = [_measured(each, prometheus) for each in OBJECTIVES]
    if as_json:
        write_json({"slos": [_json(row) for row in rows]})
    else:
        write_table(("sli", "what", "target", "now", "30 days", "budget left"), [_row(row) for row in rows])
    return ACTION if any(row.missed for row in rows) else OK


def _measured(objective: Objective, prometheus: str) -> Measured:
    def ask(expression: str) -> float | None:
        return _ask(prometheus, expression) if expression else None

    return Measured(
        objective=objective,
        now=ask(objective.now),
        month=ask(objective.month),
        failed=ask(objective.failed),
    )


def _from_inventory(config: Path | None) -> dict[str, float]:
    """M2 and M9, as of now."""
    now = current_clock()()
    earliest, places, failing = math.inf, 0, 0
    with reader_of(config) as reader:
        for served in reader.live():
            places += 1
            failing += served.failing_since is not None
            leaf = served.leaf
            if leaf is not None and leaf.not_after is not None and served.location.kind == "tls":
                earliest = min(earliest, (leaf.not_after - now).total_seconds())
    found = {} if math.isinf(earliest) else {"M2": earliest}
    return found | ({"M9": 1 - failing / places} if places else {})


def _ask(prometheus: str, expression: str) -> float | None:
    """None: it has no data for that."""
    import httpx

    try:
        answer = httpx.get(
            prometheus.rstrip("/") + "/api/v1/query", params={"query": expression}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        said: Any = answer.json() if len(answer.content) <= MAX_BYTES else {}
        samples = said["data"]["result"]
        value = float(samples[0]["value"][1]) if samples else math.nan
    except httpx.InvalidURL as error:
        raise Failed(USAGE, f"--prometheus: {prometheus!r} is no URL") from error
    except httpx.HTTPError as error:
        raise Failed(
            FAILED,
            f"{prometheus}: cannot be asked: {shown(str(error) or type(error).__name__)}. Is that a Prometheus?",
        ) from error
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Failed(FAILED, f"{prometheus}: does not answer as a Prometheus does") from error
    return None if math.isnan(value) else value


def _row(row: Measured) -> tuple[str, ...]:
    objective, budget = row.objective, row.budget_left
    return (
        objective.id,
        objective.title,
        objective.shown,
        objective.waits or _value(objective, row.now) + (" (missed)" if row.missed else ""),
        "—" if objective.waits else _value(objective, row.month),
        "—" if budget is None else f"{budget:.0%}",
    )


def _value(objective: Objective, value: float | None) -> str:
    if value is None:
        return "—"
    if objective.unit == "ratio":
        return f"{value:.3%}"
    if objective.unit == "seconds":
        return f"{value * 1000:.0f} ms" if abs(value) < 1 else rough(timedelta(seconds=value))
    return f"{value:g}"


def _json(row: Measured) -> dict[str, Any]:
    objective = row.objective
    return {
        "id": objective.id,
        "title": objective.title,
        "unit": objective.unit,
        "target": objective.target,
        "at_least": objective.at_least,
        "now": row.now,
        "days_30": row.month,
        "missed": row.missed,
        "budget_left": row.budget_left,
        "waits": objective.waits or None,
    }
