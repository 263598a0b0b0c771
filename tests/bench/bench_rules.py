"""How long the rules take for one ordinary location."""

import time

from certwatch.pki import signatures
from certwatch.plugins import registry
from certwatch.plugins.rule import Rule
from certwatch.plugins.testing import make_certificate
from tests.bench.result import Result
from tests.support.serving import INTERMEDIATE, served, world

LOCATIONS = 2000


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

    signatures._verify.cache_clear()
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
    ]
