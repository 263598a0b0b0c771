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
    #: Why it has no value in this version. Empty: it has.
    waits: str = ""


_CA = "waits for the embedded CA"
_TLS = 'certwatch_observations_total{{kind="tls"{more}}}[{span}]'


def _handshakes(span: str) -> str:
    failed, all_ = (_TLS.format(more=more, span=span) for more in (', outcome!="ok"', ""))
    return f"1 - (sum(increase({failed})) or vector(0)) / sum(increase({all_}))"


OBJECTIVES = (
    Objective(
        id="M1",
        title="issuance success",
        unit="ratio",
        target=0.999,
        at_least=True,
        shown="99.9 %",
        waits=_CA,
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
    ),
    Objective(
        id="M4",
        title="TLS handshake success",
        unit="ratio",
        target=0.9995,
        at_least=True,
        shown="99.95 %",
        now=_handshakes("1h"),
        month=_handshakes("30d"),
    ),
    Objective(
        id="M5",
        title="revocation propagation",
        unit="seconds",
        target=300,
        at_least=False,
        shown="< 5 min",
        waits=_CA,
    ),
    Objective(
        id="M6", title="key usage anomalies", unit="count", target=0, at_least=False, shown="0", waits=_CA
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
        waits=_CA,
    ),
    Objective(
        id="M9",
        title="inventory completeness",
        unit="ratio",
        target=1.0,
        at_least=True,
        shown="100 %",
        now="1 - sum(certwatch_locations_failing) / sum(certwatch_locations)",
        month="avg_over_time((1 - sum(certwatch_locations_failing) / sum(certwatch_locations))[30d:1h])",
    ),
    Objective(
        id="M10",
        title="recovery from compromise",
        unit="seconds",
        target=4 * 3600,
        at_least=False,
        shown="< 4 h",
        waits="waits for remediation",
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
    rows = [(each, *_values(each, prometheus)) for each in OBJECTIVES]
    if prometheus is None:
        known = _from_inventory(config)
        rows = [(each, known.get(each.id), None) for each in OBJECTIVES]
        click.echo("certwatch: without --prometheus only what the inventory knows now is shown", err=True)
    if as_json:
        write_json({"slos": [_json(*row) for row in rows]})
    else:
        write_table(("sli", "what", "target", "now", "30 days", "budget left"), [_row(*row) for row in rows])
    return ACTION if any(_is_missed(each, now) for each, now, _ in rows) else OK


def _values(objective: Objective, prometheus: str | None) -> tuple[float | None, float | None]:
    if prometheus is None or not objective.now:
        return None, None
    return _ask(prometheus, objective.now), _ask(prometheus, objective.month)


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


def _is_missed(objective: Objective, value: float | None) -> bool:
    if value is None:
        return False
    return value < objective.target if objective.at_least else value > objective.target


def budget_left(objective: Objective, month: float | None) -> float | None:
    """Of the failures that the objective allows in 30 days, the part that is left; negative: overspent. None: it has no
    such budget, or nothing is known."""
    allowed = 1 - objective.target
    if month is None or objective.unit != "ratio" or not objective.at_least or allowed <= 0:
        return None
    return 1 - (1 - month) / allowed


def _row(objective: Objective, now: float | None, month: float | None) -> tuple[str, ...]:
    budget = budget_left(objective, month)
    return (
        objective.id,
        objective.title,
        objective.shown,
        objective.waits or _value(objective, now) + (" (missed)" if _is_missed(objective, now) else ""),
        "—" if objective.waits else _value(objective, month),
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


def _json(objective: Objective, now: float | None, month: float | None) -> dict[str, Any]:
    return {
        "id": objective.id,
        "title": objective.title,
        "unit": objective.unit,
        "target": objective.target,
        "at_least": objective.at_least,
        "now": now,
        "days_30": month,
        "missed": _is_missed(objective, now),
        "budget_left": budget_left(objective, month),
        "waits": objective.waits or None,
    }
