"""What is checked, by a config: the installed rules and the user's own, with what they say of themselves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from certwatch.config.settings import Config
from certwatch.expressions.custom_rule import custom_rule
from certwatch.inventory.shapes import RuleExplained, RuleListed
from certwatch.plugins import registry
from certwatch.plugins.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRule:
    rule: Rule
    #: False: switched off by the config.
    checked: bool
    #: By name, as the config has them or by default; JSON values.
    settings: Mapping[str, Any]


def known_rules(config: Config) -> tuple[Sequence[KnownRule], Sequence[str]]:
    """All rules, and why others could not be loaded. Blocking: imports plug-ins."""
    rules: list[Rule] = []
    failures = []
    for id in registry.names("rules"):
        try:
            rules.append(registry.load("rules", id))
        except registry.PluginError as error:
            failures.append(str(error))
    rules += [
        custom_rule(each.id, severity=each.severity, when=each.when, summary=each.summary, text=each.text)
        for each in config.rules.custom
    ]
    return [_known(each, config) for each in rules], failures


def _known(rule: Rule, config: Config) -> KnownRule:
    configured = config.rules.configured.get(rule.id)
    settings = configured if configured is not None else rule.Config()
    return KnownRule(
        rule=rule, checked=rule.id not in config.rules.off, settings=settings.model_dump(mode="json")
    )


def rule_listed(known: KnownRule) -> RuleListed:
    rule = known.rule
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "source": rule.source,
        "runbook": rule.runbook,
        "checked": known.checked,
    }


def rule_explained(known: KnownRule) -> RuleExplained:
    return {
        **rule_listed(known),
        "why": known.rule.why,
        "fix": known.rule.fix,
        "settings": dict(known.settings),
    }
