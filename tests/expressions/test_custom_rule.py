"""Rules of the user's own."""

from certwatch.expressions import compile
from certwatch.expressions.custom_rule import custom_rule
from certwatch.model.finding import Problem
from certwatch.plugins.rule import World
from certwatch.plugins.testing import EPOCH
from tests.expressions.test_owners import served


def test_it_finds_where_its_condition_holds_and_only_there() -> None:
    when = compile('cert.key.type == "ec" && location.labels.environment == "prod"', scope="rule")
    rule = custom_rule("no-ec-in-prod", severity="ticket", when=when)
    (problem,) = rule.evaluate(served(environment="prod"), rule.Config(), World(now=EPOCH))
    assert isinstance(problem, Problem)
    assert problem.severity == "ticket"
    assert problem.summary.startswith("CN=www.example.com: no-ec-in-prod")
    assert list(rule.evaluate(served(environment="test"), rule.Config(), World(now=EPOCH))) == []
