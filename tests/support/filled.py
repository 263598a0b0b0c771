"""An inventory that looks like a company's, with what strangers write into certificates, and a site around it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from certwatch.config.load import read as read_config
from certwatch.engine.engine import CollectorState
from certwatch.engine.known_rules import known_rules
from certwatch.engine.view import StoreView
from certwatch.inventory import open_inventory
from certwatch.inventory.store import Judgement, RuleProblem, Store
from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Problem, Severity
from certwatch.model.location import LocationURI, tls_location
from certwatch.model.observation import Incomplete, LookError, Observation
from certwatch.plugins.testing import EPOCH, FakeClock, Issued, make_ca, make_certificate
from certwatch.web.site import Site
from certwatch.x509.der import read

#: Markup, what turns text around, what ends strings in C, what is too long: all of it in names.
HOSTILE = (
    '<script>alert("x")</script>.example.com',
    "</td></table><style>*{display:none}</style>",
    "gpj.\u202eexe.example.com",
    "nul\x00.example.com",
    "{{ 7 * 7 }}${7*7}",
    "x" * 20_000 + ".example.com",
)
TEAMS = (
    "payments",
    "platform",
    "identity",
    "data-engineering",
    "checkout",
    "mobile-backend",
    "mail",
    "research",
    "",
)
WORDS = (
    "api",
    "www",
    "login",
    "edge",
    "ingress",
    "grafana",
    "vault",
    "mx",
    "registry",
    "billing",
    "search",
    "cdn",
)


def certificates(count: int) -> list[Issued]:
    """The same ones each time; ends of validity from ten days ago to a year ahead, many soon."""
    draw = random.Random(7)  # noqa: S311
    root = make_ca("Example Root R1", key_number=11)
    issuers = [make_ca(f"Example Issuing CA {n}", issuer=root, key_number=12 + n) for n in range(3)]
    made = []
    for number in range(count):
        word = WORDS[number % len(WORDS)]
        days = draw.choice((-10, -1, 1, 3, 8, 20, 45, 80, 170, 300)) + draw.random()
        host = f"{word}-{number:05}.{draw.choice(('prod', 'staging', 'eu-west-1.prod'))}.example.com"
        extra = tuple(f"dns:alias-{n}.{host}" for n in range(draw.choice((0, 0, 1, 4, 40))))
        made.append(
            make_certificate(
                names=(f"dns:{host}", *extra),
                subject=host,
                issuer=issuers[number % 3],
                not_before=EPOCH - timedelta(days=90),
                not_after=EPOCH + timedelta(days=days),
            )
        )
    return made


def hostile_certificates() -> list[Issued]:
    return [
        make_certificate(
            subject=name[:60],
            # Alternative names are ASCII; without any, the subject's name counts.
            names=(f"dns:{name}",) if name.isascii() else (),
            not_after=EPOCH + timedelta(hours=5 + number),
        )
        for number, name in enumerate(HOSTILE)
    ]


def fill(store: Store, issued: Sequence[Issued], clock: FakeClock) -> None:
    """Places, owners, findings, failures, a partial scan and a location that served another before."""
    draw = random.Random(11)  # noqa: S311
    writer, reader = store.writer(), store.reader()
    try:
        before = make_certificate(names=("dns:www.example.com",), not_after=EPOCH + timedelta(days=2))
        looks = [
            Observation(
                location=tls_location(
                    f"10.0.{n >> 8}.{n & 255}", 443, server_name=read(each.der).names[0][4:][:300]
                ),
                observed_at=clock(),
                chain=each.chain_der,
                facts={
                    "tls_version": "TLSv1.3",
                    "cipher": "TLS_AES_256_GCM_SHA384",
                    "handshake_seconds": 0.0123,
                },
                labels={"environment": "prod", "team": TEAMS[n % len(TEAMS)]},
            )
            for n, each in enumerate(issued)
        ]
        first = looks[0].location
        scan = writer.begin_scan("edge", clock())
        writer.record(
            scan,
            [
                Observation(location=first, observed_at=clock() - timedelta(days=40), chain=before.chain_der),
                *looks,
            ],
        )
        writer.record(
            scan,
            [
                Observation(
                    location=tls_location(f"db-{n}.example.com", 5432, protocol="postgres"),
                    observed_at=clock(),
                    error=LookError(
                        kind="timeout",
                        message=f"db-{n}.example.com:5432: no answer within 5 s. Is a firewall in between?",
                    ),
                )
                for n in range(7)
            ],
        )
        writer.finish_scan(scan, [], clock.advance(seconds=40))
        scan = writer.begin_scan("hosts", clock())
        writer.record(
            scan,
            [
                Observation(
                    location=LocationURI("file:///etc/ssl/site%20one.pem#alias/<b>"),
                    observed_at=clock(),
                    chain=issued[1].chain_der,
                )
            ],
        )
        denied = LookError(
            kind="permission", message="/etc/ssl/private: permission denied. Let certwatch read it"
        )
        writer.finish_scan(
            scan, [Incomplete(scope="/etc/ssl/private", error=denied)], clock.advance(seconds=2)
        )
        due = reader.due(clock(), 100_000)
        writer.settle([_judged(each, draw, clock) for each in due], clock.advance(minutes=3))
    finally:
        reader.close()
        writer.close()


def _judged(due: Any, draw: random.Random, clock: FakeClock) -> Judgement:
    served, problems = due.served, []
    leaf = served.leaf

    def problem(rule: str, severity: Severity, summary: str, fingerprint: Fingerprint | None) -> None:
        problems.append(
            RuleProblem(
                rule=rule,
                runbook=f"docs/rules/{rule}.md",
                problem=Problem(
                    severity=severity,
                    fingerprint=fingerprint,
                    summary=summary,
                    text="Clients will refuse the connection from that moment on.\n\nRenew it, and reload the server.",
                ),
            )
        )

    if leaf is None:
        problem("unreachable", "ticket", f"{served.location.uri} has not answered", None)
    elif leaf.not_after is not None and leaf.not_after < clock() + timedelta(days=30):
        soon = leaf.not_after < clock() + timedelta(days=2)
        problem(
            "expiry",
            "page" if soon else "ticket",
            f"{leaf.shown} expires {leaf.not_after:%Y-%m-%d %H:%M} UTC",
            leaf.fingerprint_sha256,
        )
    if draw.random() < 0.1:
        problem("chain-incomplete", "ticket", f"{served.location.uri} leaves out an intermediate", None)
    if draw.random() < 0.1:
        problem("unowned", "info", f"{served.location.uri} has no owner", None)
    return Judgement(
        location_id=served.id,
        revision=due.revision,
        owner=served.location.labels.get("team", ""),
        problems=tuple(problems),
        due_at=None,
    )


@contextmanager
def filled_site(folder: Path, count: int = 60, **more: Any) -> Iterator[Site]:
    clock = FakeClock()
    store = open_inventory(f"sqlite://{folder}/inventory.db")
    fill(store, [*hostile_certificates(), *certificates(count)], clock)
    view = StoreView(store)
    try:
        yield site_of(view, clock, **more)
    finally:
        view.close()


def site_of(view: StoreView, clock: FakeClock, **more: Any) -> Site:
    async def reload() -> Sequence[str]:
        return ()

    def state(name: str, kind: str, **said: Any) -> CollectorState:
        values: dict[str, Any] = {
            "running": False,
            "next_run": clock() + timedelta(minutes=9),
            "broken": "",
            **said,
        }
        return CollectorState(name=name, kind=kind, every=timedelta(minutes=15), **values)

    values: dict[str, Any] = {
        "version": "1.2.3",
        "clock": clock,
        "not_ready": list,
        "broken": list,
        "collectors": lambda: [
            state("edge", "tls", running=True),
            state("hosts", "file"),
            state(
                "cloud",
                "aws",
                next_run=None,
                broken='kind "aws" needs boto3. Install it with: pip install boto3',
            ),
        ],
        "rules": known_rules(read_config("", env={}))[0],
        "reading": view.reading,
        "reload": reload,
    }
    return Site(**{**values, **more})
