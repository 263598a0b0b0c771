"""From a checked config to work for the engine: which plug-ins, with what, told apart by their settings."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import certwatch
from certwatch.config import defaults
from certwatch.config.mistakes import ConfigError
from certwatch.config.settings import CollectorSettings, Config, ExporterSettings
from certwatch.doors.key_lists import load_known_keys
from certwatch.doors.trust_files import load_trust
from certwatch.engine.collect import CollectorJob
from certwatch.engine.engine import Work
from certwatch.engine.judge import ActiveRule, RuleSet
from certwatch.engine.publish import ExporterJob
from certwatch.expressions.custom_rule import custom_rule
from certwatch.expressions.owners import owner_of, pages_of
from certwatch.expressions.routes import Route, router
from certwatch.model.clock import Clock
from certwatch.model.sighting import Served
from certwatch.pki.chains import assess, purpose_at
from certwatch.pki.trust import TrustStore
from certwatch.plugins import registry
from certwatch.plugins.collector import Collector, CollectorContext
from certwatch.plugins.exporter import Exporter, ExporterContext, InventoryView
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.plugins.rule import RuleConfig, World


def assemble(config: Config, view: InventoryView, clock: Clock) -> Work:
    """Blocking: reads trust stores, imports plug-ins. Raises TrustError."""
    folder = state_folder(config)
    pages = pages_of(config.owners)
    return Work(
        collectors=tuple(
            collector_job(
                each,
                CollectorContext(clock=clock, view=view, state_folder=collector_folder(folder, each.name)),
            )
            for each in config.collectors
        ),
        exporters=tuple(
            _exporter_job(each, config.external_url, pages, config.routes, view, clock, folder)
            for each in config.exporters
        ),
        rules=rule_set(config),
        retention=config.retention,
        findings_retention=config.findings_retention,
    )


def collector_job(settings: CollectorSettings, context: CollectorContext) -> CollectorJob:
    def build() -> Collector:
        plugin: type[Collector] = registry.load("collectors", settings.kind)
        return plugin(settings.name, settings.config, context)

    return CollectorJob(
        name=settings.name,
        kind=settings.kind,
        build=build,
        every=settings.every,
        after=frozenset(settings.config.after),
        labels=settings.labels,
        zone=settings.zone,
        written=settings.written,
        settings=settings,
    )


def collector_folder(folder: Path | None, name: str) -> Path | None:
    """Of one collector. `folder`: `state_folder`."""
    return None if folder is None else folder / "collectors" / name


def state_folder(config: Config) -> Path | None:
    try:
        return defaults.state_folder(config.inventory, os.environ, uid=os.getuid())
    except ConfigError:
        # An inventory elsewhere and no home: plug-ins that need a folder say so.
        return None


def _exporter_job(
    settings: ExporterSettings,
    external_url: str,
    pages: Mapping[str, str],
    routes: Sequence[Route],
    view: InventoryView,
    clock: Clock,
    folder: Path | None,
) -> ExporterJob:
    def build() -> Exporter:
        plugin: type[Exporter] = registry.load("exporters", settings.kind)
        context = ExporterContext(
            clock=clock,
            view=view,
            external_url=external_url,
            state_folder=folder / "exporters" / settings.name if folder is not None else None,
            pages=pages,
            route_of=router(routes) if routes else None,
        )
        return plugin(settings.name, settings.config, context)

    routed = tuple((each.to, each.when.text) for each in routes)
    return ExporterJob(
        name=settings.name, kind=settings.kind, build=build, settings=(settings, external_url, pages, routed)
    )


def rule_set(config: Config) -> RuleSet:
    """All rules that are installed or the user's own, but those switched off. One that cannot be loaded is left out,
    logged and counted; what it found before stays. Raises TrustError."""
    active: list[ActiveRule] = []
    broken: set[str] = set()
    for id in registry.names("rules"):
        if id in config.rules.off:
            continue
        try:
            with guard("rules", id):
                active.append(_active(id, config.rules.configured))
        except PluginFailed:
            broken.add(id)
    active += [
        ActiveRule(
            rule=custom_rule(
                each.id,
                severity=each.severity,
                when=each.when,
                summary=each.summary,
                text=each.text,
                trusted_by=_trusted_by,
            ),
            config=RuleConfig(),
        )
        for each in config.rules.custom
    ]
    trust = load_trust(config.trust)
    known_keys = load_known_keys(config.known_keys)
    return RuleSet(
        rules=tuple(active),
        broken=frozenset(broken),
        trust=trust,
        known_keys=known_keys or None,
        owner_of=partial(owner_of, rules=config.owners),
        digest=_digest(config, active, broken, trust, known_keys.digest),
    )


def _trusted_by(served: Served, world: World) -> Sequence[str]:
    if not served.chain:
        return ()
    purpose = purpose_at(served.location.kind)
    return assess(served.chain, world.trust, world.now, purpose).accepted_by


def _active(id: str, configured: Mapping[str, RuleConfig]) -> ActiveRule:
    rule = registry.load("rules", id)
    return ActiveRule(rule=rule, config=configured[id] if id in configured else rule.Config())


def _digest(
    config: Config,
    active: list[ActiveRule],
    broken: set[str],
    trust: Mapping[str, TrustStore],
    known_keys: str,
) -> str:
    """The same as long as every judgement would be the same: versions, settings, owners, anchors."""
    versions = {
        each.name: f"{each.distribution} {each.version}"
        for each in registry.installed()
        if each.group == "rules"
    }
    parts: dict[str, Any] = {
        "certwatch": certwatch.__version__,
        "rules": [
            (each.rule.id, versions.get(each.rule.id), each.config.model_dump_json()) for each in active
        ],
        "broken": sorted(broken),
        "custom": [
            (each.id, each.severity, each.when.text, each.summary, each.text) for each in config.rules.custom
        ],
        "owners": [(each.team, each.when.text) for each in config.owners],
        "known_keys": known_keys,
        "trust": [(name, store.digest) for name, store in trust.items()],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
