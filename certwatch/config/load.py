"""From a file to a checked config: every mistake of the file at once, each with its line and key."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from certwatch.config import defaults
from certwatch.config.document import DocumentError, parse
from certwatch.config.find import find, read_text
from certwatch.config.mistakes import ConfigError, config_error
from certwatch.config.mistakes import Path as KeyPath
from certwatch.config.models import keys_of, nearest
from certwatch.config.reading import Reading
from certwatch.config.schema import (
    CollectorKeys,
    CustomRuleKeys,
    ExporterKeys,
    FileKeys,
    LogKeys,
    WorkersKeys,
)
from certwatch.config.settings import (
    CollectorSettings,
    Config,
    CustomRule,
    ExporterSettings,
    LogSettings,
    PluginSettings,
    PolicySettings,
    RemediationSettings,
    RuleSettings,
)
from certwatch.expressions import Expression, ExpressionError, compile
from certwatch.expressions.fields import Scope
from certwatch.expressions.owners import OwnerRule
from certwatch.expressions.routes import Route
from certwatch.plugins import registry
from certwatch.plugins.rule import RuleConfig

__all__ = ["Config", "ConfigError", "load", "read"]

#: Key of `rules:` that is not a rule's id.
_CUSTOM = "custom"
_NOT_SHARED = "workers find their jobs in PostgreSQL: give an `inventory: postgresql://…`, or leave this out"


def load(path: Path | None = None, *, env: Mapping[str, str]) -> Config:
    """The config of `path`, or of the first usual place that has one (`certwatch.config.find`), or the embedded
    default. Reads secret files; loads the plug-ins that are named. Raises ConfigError with all that is wrong."""
    found = find(path, env)
    if found is None:
        return read("", env=env)
    return read(read_text(found), env=env, path=found)


def read(text: str, *, env: Mapping[str, str], path: Path | None = None) -> Config:
    """The config of a text. What it does not name is as in the embedded default: "" is that default."""
    file = str(path) if path is not None else "embedded default"
    try:
        document = parse(text)
    except DocumentError as error:
        raise config_error(file, error.mistakes) from error
    if document.value is None:
        document.value = {}
    reading = Reading(document, env, file=file)
    if not isinstance(reading.value, dict):
        reading.say((), "a config is keys with values, like collectors: […]")
        raise config_error(file, reading.mistakes)
    config = _config(reading, reading.value, path, env)
    if reading.mistakes or config is None:
        raise config_error(file, reading.mistakes)
    return config


def _config(
    reading: Reading, top: dict[str, Any], path: Path | None, env: Mapping[str, str]
) -> Config | None:
    keys = reading.validate(FileKeys, top, (), secrets=frozenset(["inventory"]))
    shared = keys is None or keys.inventory.startswith(("postgresql:", "postgres:"))
    collectors = _collectors(
        reading, _listed(reading, top, "collectors", defaults.collectors()), shared=shared
    )
    _trust_labels(reading, collectors, top["trust"] if "trust" in top else defaults.TRUST)
    exporters = _exporters(reading, _listed(reading, top, "exporters", defaults.exporters()))
    owners = _owners(reading, top.get("owners"))
    routes = _routes(reading, top.get("routes"))
    rules = _rules(reading, top.get("rules"))
    ca = _ca(reading, top["ca"]) if isinstance(top.get("ca"), dict) else None
    remediation = (
        _remediation(reading, top["remediation"]) if isinstance(top.get("remediation"), dict) else None
    )
    if keys is not None and keys.workers.listen is not None and not shared:
        reading.say(("workers", "listen"), _NOT_SHARED)
    if keys is None or reading.mistakes:
        return None
    log = keys.log if isinstance(keys.log, LogKeys) else LogKeys()
    return Config(
        path=path,
        inventory=keys.inventory or defaults.inventory(env),
        trust={name: tuple(files) for name, files in keys.trust.items()}
        if "trust" in top
        else defaults.TRUST,
        known_keys=tuple(keys.known_keys),
        collectors=tuple(collectors),
        owners=tuple(owners),
        routes=tuple(routes),
        rules=rules,
        exporters=tuple(exporters),
        ca=ca,
        remediation=remediation,
        workers=keys.workers if isinstance(keys.workers, WorkersKeys) else WorkersKeys(),
        log=LogSettings(level=log.level, style=log.style),
        retention=keys.retention,
        findings_retention=keys.findings_retention,
        external_url=keys.external_url,
        remarks=tuple(reading.remarks),
    )


def _ca(reading: Reading, value: dict[str, Any]) -> Any:
    # Most configs have none: its models are loaded for those that do.
    from certwatch.config.ca import CaKeys

    return reading.validate(CaKeys, value, ("ca",))


def _remediation(reading: Reading, value: dict[str, Any]) -> RemediationSettings | None:
    from certwatch.config.remediation import RemediationKeys

    keys = reading.validate(RemediationKeys, value, ("remediation",))
    policies: list[PolicySettings] = []
    names: dict[str, int] = {}
    for index, entry in _entries(value.get("policies")):
        path: KeyPath = ("remediation", "policies", index)
        when = None
        if entry.get("when") is not None:
            when = _condition(reading, entry["when"], (*path, "when"), "rule")
        issuer = _of_policy(reading, "issuers", entry.get("issuer"), (*path, "issuer"))
        deploy = [
            _of_policy(reading, "deployers", each, (*path, "deploy", number))
            for number, each in _entries(entry.get("deploy"))
        ]
        if isinstance(entry.get("name"), str):
            _claim(reading, names, entry["name"], path)
        if keys is not None and issuer is not None:
            policies.append(
                PolicySettings(
                    keys=keys.policies[index],
                    when=when,
                    issuer=issuer,
                    deploy=tuple(each for each in deploy if each is not None),
                )
            )
    return None if keys is None else RemediationSettings(keys=keys, policies=tuple(policies))


def _of_policy(reading: Reading, group: registry.Group, value: Any, path: KeyPath) -> PluginSettings | None:
    if not isinstance(value, dict):
        return None  # said by the keys' model
    if not isinstance(value.get("kind"), str):
        reading.say(path, f"says no kind (known: {', '.join(registry.names(group))})")
        return None
    plugin = _plugin(reading, group, value, path)
    if plugin is None:
        return None
    rest = {key: each for key, each in value.items() if key != "kind"}
    config = reading.validate(plugin.Config, rest, path, plugin=(group, value["kind"]), beside=("kind",))
    return None if config is None else PluginSettings(kind=value["kind"], config=config)


def _listed(reading: Reading, top: dict[str, Any], key: str, default: list[dict[str, Any]]) -> Any:
    """What stands under `key`; without it the default's."""
    if key not in top:
        return default
    return top[key]


def _entries(value: Any) -> Iterable[tuple[int, dict[str, Any]]]:
    """The entries of a list that are mappings; what is not has been said by `FileKeys`."""
    for index, entry in enumerate(value if isinstance(value, list) else ()):
        if isinstance(entry, dict):
            yield index, entry


def _plugin(reading: Reading, group: registry.Group, entry: dict[str, Any], path: KeyPath) -> Any:
    """None: it cannot be had, which is said."""
    kind = entry.get("kind")
    if not isinstance(kind, str):
        return None  # said by the keys' model
    try:
        return registry.load(group, kind)
    except registry.PluginError as error:
        reading.say((*path, "kind"), str(error))
        return None


def _own(
    reading: Reading, group: registry.Group, keys: type[BaseModel], entry: dict[str, Any], path: KeyPath
) -> Any:
    """The plug-in's own config from what the core does not know. None: it is not in order, which is said."""
    plugin = _plugin(reading, group, entry, path)
    if plugin is None:
        return None
    common = keys_of(keys)
    rest = {key: value for key, value in entry.items() if key not in common}
    return reading.validate(
        plugin.Config, rest, path, plugin=(group, str(entry["kind"])), beside=tuple(common)
    )


def _common(
    reading: Reading, model: type[CollectorKeys] | type[ExporterKeys], entry: dict[str, Any], path: KeyPath
) -> Any:
    known = keys_of(model)
    return reading.validate(model, {key: value for key, value in entry.items() if key in known}, path)


def _collectors(reading: Reading, value: Any, *, shared: bool) -> list[CollectorSettings]:
    """`shared`: the inventory is one that workers reach."""
    found: list[CollectorSettings] = []
    names: dict[str, int] = {}
    for index, entry in _entries(value):
        path: KeyPath = ("collectors", index)
        labels = entry.get("labels")
        if isinstance(labels, dict):
            texts = {key: reading.as_written((*path, "labels", key), each) for key, each in labels.items()}
            entry = {**entry, "labels": texts}
        keys: CollectorKeys | None = _common(reading, CollectorKeys, entry, path)
        config = _own(reading, "collectors", CollectorKeys, entry, path)
        if keys is None:
            continue
        name = keys.name or keys.kind
        _claim(reading, names, name, path)
        written: dict[str, Any] = {}
        if keys.zone is not None:
            if not shared:
                reading.say((*path, "zone"), _NOT_SHARED)
            common = keys_of(CollectorKeys)
            written = {key: each for key, each in reading.in_document(path).items() if key not in common}
        if config is not None:
            found.append(
                CollectorSettings(
                    name=name,
                    kind=keys.kind,
                    every=keys.every,
                    labels=keys.labels,
                    config=config,
                    zone=keys.zone,
                    written=written,
                )
            )
    return found


def _exporters(reading: Reading, value: Any) -> list[ExporterSettings]:
    found: list[ExporterSettings] = []
    names: dict[str, int] = {}
    for index, entry in _entries(value):
        path: KeyPath = ("exporters", index)
        keys: ExporterKeys | None = _common(reading, ExporterKeys, entry, path)
        config = _own(reading, "exporters", ExporterKeys, entry, path)
        if keys is None:
            continue
        name = keys.name or keys.kind
        _claim(reading, names, name, path)
        if config is not None:
            found.append(ExporterSettings(name=name, kind=keys.kind, config=config))
    return found


def _claim(reading: Reading, names: dict[str, int], name: str, path: KeyPath) -> None:
    if name in names:
        *above, _ = path
        where = ".".join(map(str, above))
        reading.say(
            (*path, "name"), f'"{name}" is the name of {where}[{names[name]}] already: give it another'
        )
    else:
        names[name] = int(path[-1])


def _condition(reading: Reading, text: Any, path: KeyPath, scope: Scope) -> Expression | None:
    if not isinstance(text, str):
        return None  # said by the keys' model
    try:
        return compile(text, scope=scope)
    except ExpressionError as error:
        reading.say(path, error.message)
        return None


def _trust_labels(reading: Reading, collectors: Iterable[CollectorSettings], trust: Any) -> None:
    """A label may say what it likes; one that names no store is rarely meant."""
    known = list(trust) if isinstance(trust, Mapping) else []
    for index, each in enumerate(collectors):
        for name in (part.strip() for part in each.labels.get("trust", "").split(",")):
            if name and name not in known:
                near = nearest(name, [str(store) for store in known])
                hint = f', did you mean "{near}"?' if near else ""
                reading.remark(
                    ("collectors", index, "labels", "trust"), f'"{name}" is no trust store here{hint}'
                )


def _owners(reading: Reading, value: Any) -> list[OwnerRule]:
    found = []
    for index, entry in _entries(value):
        when = _condition(reading, entry.get("when"), ("owners", index, "when"), "owner")
        if when is not None and isinstance(entry.get("team"), str):
            found.append(OwnerRule(team=entry["team"], when=when, page=entry.get("page")))
    return found


def _routes(reading: Reading, value: Any) -> list[Route]:
    found = []
    for index, entry in _entries(value):
        when = _condition(reading, entry.get("when"), ("routes", index, "when"), "route")
        if when is not None and isinstance(entry.get("to"), str):
            found.append(Route(to=entry["to"], when=when))
    return found


def _rules(reading: Reading, value: Any) -> RuleSettings:
    configured: dict[str, RuleConfig] = {}
    off: set[str] = set()
    custom: list[CustomRule] = []
    known = registry.names("rules")
    for id, settings in value.items() if isinstance(value, dict) else ():
        path: KeyPath = ("rules", id)
        if id == _CUSTOM:
            custom = _custom_rules(reading, settings, known)
        elif id not in known:
            near = nearest(id, [*known, _CUSTOM])
            hint = f', did you mean "{near}"?' if near else f" (known: {', '.join(known)})"
            reading.say(path, f"unknown rule{hint}")
        elif settings is False:
            off.add(id)
        elif settings is None or settings is True:
            continue
        elif not isinstance(settings, dict):
            reading.say(path, "expected its settings, or false to leave it out")
        else:
            try:
                rule = registry.load("rules", id)
            except registry.PluginError as error:
                reading.say(path, str(error))
                continue
            config = reading.validate(rule.Config, settings, path, plugin=("rules", id))
            if config is not None:
                configured[id] = config
    return RuleSettings(configured=configured, off=frozenset(off), custom=tuple(custom))


def _custom_rules(reading: Reading, value: Any, known: list[str]) -> list[CustomRule]:
    if not isinstance(value, list):
        reading.say(("rules", _CUSTOM), "expected a list of rules, each with id, severity and when")
        return []
    found: list[CustomRule] = []
    ids: set[str] = set(known)
    for index, entry in enumerate(value):
        path: KeyPath = ("rules", _CUSTOM, index)
        if not isinstance(entry, dict):
            reading.say(path, "expected keys with values: id, severity, when")
            continue
        keys = reading.validate(CustomRuleKeys, entry, path)
        when = _condition(reading, entry.get("when"), (*path, "when"), "rule")
        if keys is None:
            continue
        if keys.id in ids or keys.id == _CUSTOM:
            reading.say((*path, "id"), f'"{keys.id}" is the id of another rule already: give it another')
        ids.add(keys.id)
        if when is not None:
            found.append(
                CustomRule(
                    id=keys.id, severity=keys.severity, when=when, summary=keys.summary, text=keys.text
                )
            )
    return found
