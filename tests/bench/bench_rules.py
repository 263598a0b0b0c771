"""How long the rules take for one ordinary location."""

import time

from certwatch.config.load import read
from certwatch.engine.assemble import rule_set
from certwatch.model.sighting import Served
from certwatch.pki import signatures
from certwatch.plugins import registry
from certwatch.plugins.rule import Rule
from certwatch.plugins.testing import make_certificate
from tests.bench.result import Result
from tests.support.serving import INTERMEDIATE, served, world

LOCATIONS = 2000
CUSTOM = (
    'cert.key.type == "rsa" && cert.key.bits < 3072',
    'cert.names.exists(name, name.startsWith("dns:*."))',
    'location.kind == "tls" && !location.uri.contains(":443/")',
    'cert.issuer.contains("Let us see") || cert.lifetime > duration("9552h")',
)


def run() -> list[Result]:
    rules: list[Rule] = [registry.load("rules", name) for name in registry.names("rules")]
    configs = [rule.Config() for rule in rules]
    places = [
        served((make_certificate(issuer=INTERMEDIATE, serial_number=1000 + n), INTERMEDIATE))
        for n in range(LOCATIONS)
    ]
    now = world()

    def judge_all() -> float:
        started = time.process_time()
        for place in places:
            for rule, config in zip(rules, configs, strict=True):
                for _ in rule.evaluate(place, config, now):
                    pass
        return LOCATIONS / (time.process_time() - started)

    custom = _custom(places)
    signatures.VERDICTS.clear()
    cold = judge_all()
    warm = max(judge_all() for _ in range(3))
    how = f"{len(rules)} rules, leaf and intermediate, one core"
    return [
        Result(what="locations judged, signatures not seen before", measured=cold, unit="/s", how=how),
        Result(
            what="locations judged, signatures known",
            measured=warm,
            unit="/s",
            target=10_000,
            at_least=True,
            how=how,
        ),
        Result(
            what="custom rules evaluated (CEL)",
            measured=custom,
            unit="/s",
            target=90_000,
            at_least=True,
            how=f"{len(CUSTOM)} rules on each of {LOCATIONS:,} locations, compiled once, one core",
        ),
    ]


def _custom(places: list[Served]) -> float:
    """Evaluations a second: the best of three."""
    lines = "".join(
        f"    - {{id: own-{n}, severity: ticket, when: '{each}'}}\n" for n, each in enumerate(CUSTOM)
    )
    active = rule_set(read(f"rules:\n  custom:\n{lines}", env={"HOME": "/root"})).rules[-len(CUSTOM) :]
    best = 0.0
    for _ in range(3):
        now = world()
        started = time.process_time()
        for place in places:
            for each in active:
                for _said in each.rule.evaluate(place, each.config, now):
                    pass
        best = max(best, LOCATIONS * len(CUSTOM) / (time.process_time() - started))
    return best
