"""Writes grafana/*.json: `python -m tools.dashboards`. Dashboards are made by code so that they can be reviewed; what is
committed is what Grafana loads, and a test holds the two together."""

import sys
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef, VariableRefresh
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FOLDER = Path(__file__).parents[1] / "grafana"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: What a reader chooses: everything but certwatch's own work follows it.
CHOSEN = 'owner=~"$owner", environment=~"$environment"'

Query = tuple[str, str]
Panel = timeseries.Panel | stat.Panel | table.Panel


def _query(expression: str, legend: str = "") -> prometheus.Dataquery:
    return prometheus.Dataquery().datasource(SOURCE).expr(expression).legend_format(legend)


def _now(title: str, expression: str, *, unit: str = "short", text: str = "") -> stat.Panel:
    return (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(_query(expression).instant())
        .span(4)
        .height(4)
    )


def _over_time(
    title: str, queries: Sequence[Query], *, unit: str = "short", text: str = ""
) -> timeseries.Panel:
    panel = timeseries.Panel().title(title).description(text).datasource(SOURCE).unit(unit).span(12).height(8)
    for name, (expression, legend) in zip("ABCDEF", queries, strict=False):
        panel = panel.with_target(_query(expression, legend).ref_id(name))
    return panel


def _list(
    title: str, expression: str, *, unit: str = "short", text: str = "", wide: bool = False
) -> table.Panel:
    return (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .with_target(_query(expression).instant().format(PromQueryFormat.TABLE))
        .span(24 if wide else 12)
        .height(9)
    )


def _dashboard(uid: str, title: str, text: str) -> dashboard.Dashboard:
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags(["certwatch"])
        .readonly()
        .refresh("1m")
        .time("now-24h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for name, metric in (
        ("owner", "certwatch_locations"),
        ("environment", "certwatch_locations"),
        ("collector", "certwatch_collector_last_scan_timestamp_seconds"),
    ):
        made = made.with_variable(
            dashboard.QueryVariable(name)
            .datasource(SOURCE)
            .query(f"label_values({metric}, {name})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
        )
    return made


def executive() -> dashboard.Dashboard:
    panels: list[Panel] = [
        _now("Certificates", f"sum(certwatch_certificates{{{CHOSEN}}})"),
        _now("Places watched", f"sum(certwatch_locations{{{CHOSEN}}})"),
        _now(
            "Inventory complete",
            f"1 - sum(certwatch_locations_failing{{{CHOSEN}}}) / sum(certwatch_locations{{{CHOSEN}}})",
            unit="percentunit",
            text="M9: places that were to be seen and are.",
        ),
        _now("Pages open", 'sum(certwatch_findings_open{severity="page", owner=~"$owner"}) or vector(0)'),
        _now("Tickets open", 'sum(certwatch_findings_open{severity="ticket", owner=~"$owner"}) or vector(0)'),
        _now("Revoked, in use", 'sum(certwatch_findings_open{rule="revoked", owner=~"$owner"}) or vector(0)'),
        _over_time(
            "Least time left of what is served, by owner",
            [
                (
                    f'min by (owner) (certwatch_expiry_earliest_timestamp_seconds{{presence="served", {CHOSEN}}}) - time()',
                    "{{owner}}",
                )
            ],
            unit="s",
            text="M2: more than 48 hours for all.",
        ),
        _over_time(
            "Open findings by severity",
            [('sum by (severity) (certwatch_findings_open{owner=~"$owner"})', "{{severity}}")],
        ),
        _now(
            "Handshakes, 30 days",
            '1 - (sum(increase(certwatch_observations_total{kind="tls", outcome!="ok"}[30d])) or vector(0))'
            ' / sum(increase(certwatch_observations_total{kind="tls"}[30d]))',
            unit="percentunit",
            text="M4: 99.95 %.",
        ),
        _now(
            "Renewed in time, 30 days",
            '(sum(increase(certwatch_renewals_total{outcome="in-time"}[30d])) or vector(0))'
            " / sum(increase(certwatch_renewals_total[30d]))",
            unit="percentunit",
            text="M7: all, in production.",
        ),
        _now(
            "Certificates issued, 30 days",
            "1 - (certwatch:issuance_errors:ratio_30d or vector(0))",
            unit="percentunit",
            text="M1: 99.9 %. Requests to the embedded CA and to cert-manager's issuers; without either, 100 %.",
        ),
        _now(
            "CA signs, 30 days",
            "1 - (certwatch:signing_errors:ratio_30d or vector(0))",
            unit="percentunit",
            text="M8: the CA's uptime as those see it who ask for a signature; 99.9 %. Without an embedded CA, 100 %.",
        ),
        _over_time(
            "Issuance and signatures that succeed, by day",
            [
                ("1 - (certwatch:issuance_errors:ratio_1d or vector(0))", "requests"),
                ("1 - (certwatch:signing_errors:ratio_1d or vector(0))", "signatures"),
            ],
            unit="percentunit",
            text="M1 and M8: the trend of the last day's share.",
        ),
        _now(
            "Compromised keys in use",
            'sum(certwatch_findings_open{rule=~"compromised|key-broken", owner=~"$owner"}) or vector(0)',
            text="M10: each must be gone within four hours.",
        ),
        _now(
            "Recovered too late, 30 days",
            "certwatch:compromise_late:ratio_30d or vector(0)",
            unit="percentunit",
            text="M10: places with a compromised key that took longer than four hours.",
        ),
        _list(
            "Certificates by issuer",
            'topk(15, count by (issuer) (certwatch_certificate_info{is_ca="false"}))',
            text="How many CAs there are, and which.",
        ),
        _list("Certificates by key", "count by (key_type, key_bits) (certwatch_certificate_info)"),
    ]
    return _with(
        _dashboard(
            "certwatch-executive", "certwatch: health", "How the organisation's certificates are doing."
        ),
        panels,
    )


def on_call() -> dashboard.Dashboard:
    panels: list[Panel] = [
        _list(
            "What ends next",
            f'sort(bottomk(50, certwatch_certificate_not_after_timestamp_seconds{{position="0", {CHOSEN}}} - time()))',
            unit="s",
            text="Every place with its leaf's time left; negative: it has ended.",
            wide=True,
        ),
        _list(
            "Open findings",
            'sum by (rule, severity, owner) (certwatch_findings_open{owner=~"$owner"} > 0)',
            wide=True,
        ),
        _list(
            "Places that cannot be looked at",
            f"certwatch_location_up{{{CHOSEN}}} == 0",
            text="Their last known certificate stays in force.",
            wide=True,
        ),
        _over_time(
            "Failed handshakes by cause",
            [
                (
                    (
                        'sum by (outcome) (rate(certwatch_observations_total{kind="tls", outcome!="ok", '
                        'collector=~"$collector"}[$__rate_interval]))'
                    ),
                    "{{outcome}}",
                )
            ],
            unit="ops",
        ),
        _over_time(
            "OCSP latency, 95th percentile",
            [
                (
                    (
                        "histogram_quantile(0.95, sum by (responder, le) "
                        "(rate(certwatch_ocsp_request_seconds_bucket[$__rate_interval])))"
                    ),
                    "{{responder}}",
                )
            ],
            unit="s",
            text="M3: below 200 ms. Answers from memory are not in it.",
        ),
        _over_time(
            "CRL latency, 95th percentile",
            [
                (
                    "histogram_quantile(0.95, sum by (host, le) (rate(certwatch_crl_fetch_seconds_bucket[1h])))",
                    "{{host}}",
                )
            ],
            unit="s",
            text="Where there is no OCSP. The Baseline Requirements give ten seconds.",
        ),
        _over_time(
            "Requests for certificates that failed",
            [
                ("certwatch:issuance_errors:ratio_1h or vector(0)", "one hour"),
                ("certwatch:issuance_errors:ratio_1d or vector(0)", "one day"),
            ],
            unit="percentunit",
            text="M1: one in a thousand may.",
        ),
        _over_time(
            "Signatures of the CA that failed",
            [
                ("certwatch:signing_errors:ratio_1h or vector(0)", "one hour"),
                ("certwatch:signing_errors:ratio_1d or vector(0)", "one day"),
            ],
            unit="percentunit",
            text="M8: one in a thousand may.",
        ),
        _over_time(
            "Signatures in an hour, by key",
            [
                ("certwatch:ca_signatures:increase_1h or vector(0)", "CA {{issuer}}"),
                ("certwatch:kms_signatures:increase_1h or vector(0)", "KMS {{account}} {{key}}"),
            ],
            text="M6: nothing unexpected.",
        ),
        _now(
            "Oldest compromised key in use",
            "certwatch:compromise_open:seconds or vector(0)",
            unit="s",
            text="M10: less than four hours.",
        ),
        _over_time(
            "Renewals today",
            [("sum by (outcome) (increase(certwatch_renewals_total[1d]))", "{{outcome}}")],
        ),
        _over_time(
            "Findings that came and went today",
            [('sum by (rule) (changes(certwatch_findings_open{owner=~"$owner"}[1d]))', "{{rule}}")],
        ),
    ]
    return _with(
        _dashboard("certwatch-on-call", "certwatch: on call", "What is wrong now, and what will be next."),
        panels,
    )


def debug() -> dashboard.Dashboard:
    own = 'collector=~"$collector"'
    panels: list[Panel] = [
        _list(
            "Since the last scan",
            f"time() - certwatch_collector_last_scan_timestamp_seconds{{{own}}}",
            unit="s",
            wide=True,
        ),
        _over_time(
            "Scan duration", [(f"certwatch_scan_last_duration_seconds{{{own}}}", "{{collector}}")], unit="s"
        ),
        _over_time(
            "Looks by outcome",
            [
                (
                    f"sum by (collector, outcome) (rate(certwatch_observations_total{{{own}}}[$__rate_interval]))",
                    "{{collector}} {{outcome}}",
                )
            ],
            unit="ops",
        ),
        _over_time(
            "Handshakes, median and 95th percentile",
            [
                (
                    (
                        f"histogram_quantile({part}, sum by (collector, le) "
                        f"(rate(certwatch_tls_handshake_seconds_bucket{{{own}}}[$__rate_interval])))"
                    ),
                    f"{{{{collector}}}} p{name}",
                )
                for part, name in (("0.5", "50"), ("0.95", "95"))
            ],
            unit="s",
        ),
        _over_time(
            "Scans skipped, since the one before still ran",
            [
                (
                    "sum by (collector) (increase(certwatch_scans_skipped_total[1h])) or vector(0)",
                    "{{collector}}",
                )
            ],
        ),
        _over_time(
            "Locations judged",
            [("rate(certwatch_evaluations_total[$__rate_interval])", "a second")],
            unit="ops",
        ),
        _over_time(
            "Rounds of the rules, 95th percentile",
            [
                (
                    "histogram_quantile(0.95, rate(certwatch_evaluation_round_seconds_bucket[$__rate_interval]))",
                    "p95",
                )
            ],
            unit="s",
        ),
        _over_time(
            "OCSP requests by outcome",
            [("sum by (outcome) (rate(certwatch_ocsp_requests_total[$__rate_interval]))", "{{outcome}}")],
            unit="ops",
        ),
        _over_time(
            "CRL fetches by outcome",
            [("sum by (outcome) (rate(certwatch_crl_fetches_total[$__rate_interval]))", "{{outcome}}")],
            unit="ops",
        ),
        _over_time(
            "CT: time behind, by log",
            [("time() - max by (log) (certwatch_ct_read_timestamp_seconds)", "{{log}}")],
            unit="s",
            text="Since the instant up to which everything that the log took is read and verified.",
        ),
        _over_time(
            "Distribution: most certificates that one name is served with",
            [
                (
                    (
                        "max by (environment, collector) (count by (environment, collector, name) "
                        "(count by (environment, collector, name, fingerprint_sha256) "
                        '(certwatch_certificate_not_after_timestamp_seconds{position="0", location=~"tls:.*", '
                        f"{CHOSEN}}})))"
                    ),
                    "{{environment}} {{collector}}",
                )
            ],
            text="A collector for each region shows where a renewal has not arrived: more than one, and not for the moment of a roll-out.",
        ),
        _over_time(
            "Served, though renewed elsewhere",
            [
                (
                    'sum by (rule, owner) (certwatch_findings_open{rule=~"addresses-differ|renewed-not-served", owner=~"$owner"}) or vector(0)',
                    "{{rule}} {{owner}}",
                )
            ],
        ),
        _over_time(
            "Requests that wait for approval",
            [("certwatch_ca_requests_waiting", "embedded CA")],
        ),
        _over_time(
            "Latency of tokens, 95th percentile",
            [
                (
                    "histogram_quantile(0.95, sum by (key, le) (rate(certwatch_ca_token_seconds_bucket[$__rate_interval]))) or vector(0)",
                    "{{key}}",
                )
            ],
            unit="s",
        ),
        _over_time(
            "Notifications",
            [
                (
                    "sum by (exporter, outcome) (rate(certwatch_notifications_total[$__rate_interval])) or vector(0)",
                    "{{exporter}} {{outcome}}",
                )
            ],
            unit="ops",
        ),
        _over_time(
            "What must not be",
            [
                (
                    "sum(increase(certwatch_inventory_write_failures_total[1h])) or vector(0)",
                    "inventory writes failed",
                ),
                ("sum(increase(certwatch_plugin_failures_total[1h])) or vector(0)", "plug-ins failed"),
                ("1 - certwatch_config_last_reload_successful", "config refused"),
            ],
        ),
        _over_time(
            "Scrape duration", [('scrape_duration_seconds{job="certwatch"}', "{{instance}}")], unit="s"
        ),
        _over_time("Version", [("certwatch_build_info", "{{version}}, Python {{python}}")]),
    ]
    return _with(
        _dashboard("certwatch-debug", "certwatch: its own work", "How certwatch itself is doing."), panels
    )


def _with(made: dashboard.Dashboard, panels: Sequence[Panel]) -> dashboard.Dashboard:
    for panel in panels:
        made = made.with_panel(panel)
    return made


def rendered() -> dict[str, str]:
    """File name to contents."""
    made = {"executive": executive(), "on-call": on_call(), "debug": debug()}
    return {
        f"{name}.json": JSONEncoder(sort_keys=True, indent=2).encode(each.build()) + "\n"
        for name, each in made.items()
    }


def main() -> int:
    for name, text in rendered().items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
