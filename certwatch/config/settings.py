"""A config that has been checked, as the rest of certwatch reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel

from certwatch.config.schema import WorkersKeys
from certwatch.expressions.condition import Expression
from certwatch.expressions.owners import OwnerRule
from certwatch.expressions.routes import Route
from certwatch.model.finding import Severity
from certwatch.plugins.collector import CollectorConfig
from certwatch.plugins.exporter import ExporterConfig
from certwatch.plugins.rule import RuleConfig

if TYPE_CHECKING:
    from certwatch.config.ca import CaKeys
    from certwatch.config.remediation import PolicyKeys, RemediationKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    name: str
    kind: str
    every: timedelta
    labels: Mapping[str, str]
    #: Of the plug-in's own type.
    config: CollectorConfig
    #: Whose workers look. None: this process does.
    zone: str | None = None
    #: Where workers look: the plug-in's keys as they stand in the file. What is secret in it is only named.
    written: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExporterSettings:
    name: str
    kind: str
    #: Of the plug-in's own type.
    config: ExporterConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomRule:
    """A rule of the user's own; `certwatch.expressions.custom_rule` makes a `Rule` of it."""

    id: str
    severity: Severity
    when: Expression
    summary: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    #: By rule id, for those that the file names; all others have their defaults.
    configured: Mapping[str, RuleConfig] = field(default_factory=dict)
    #: Ids that are not to be checked (`weak-key: false`).
    off: frozenset[str] = frozenset()
    custom: tuple[CustomRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginSettings:
    """An issuer or a deployer of a policy."""

    kind: str
    #: Of the plug-in's own type.
    config: BaseModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings:
    keys: "PolicyKeys"
    when: Expression | None
    issuer: PluginSettings
    deploy: tuple[PluginSettings, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediationSettings:
    keys: "RemediationKeys"
    policies: tuple[PolicySettings, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    level: Literal["debug", "info", "warning", "error"]
    style: Literal["line", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    #: Where it was read. None: the embedded default.
    path: Path | None
    #: Address of the inventory. May hold a password: not to be printed.
    inventory: str = field(repr=False)
    #: Trust stores by name: files and folders, or "system", in the configured order.
    trust: Mapping[str, tuple[str, ...]]
    #: Files of keys that are known to be compromised.
    known_keys: tuple[str, ...]
    collectors: tuple[CollectorSettings, ...]
    owners: tuple[OwnerRule, ...]
    #: In order.
    routes: tuple[Route, ...]
    rules: RuleSettings
    exporters: tuple[ExporterSettings, ...]
    #: The embedded CA. None: the file has none.
    ca: "CaKeys | None"
    #: What may be renewed by itself. None: nothing.
    remediation: "RemediationSettings | None"
    #: What the daemon and workers in other zones agree on.
    workers: WorkersKeys
    log: LogSettings
    retention: timedelta
    #: None: for ever.
    findings_retention: timedelta | None
    #: Without a slash at the end. Empty: not known.
    external_url: str
    #: What is allowed but deserves a word, each "file:line: key: …".
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.path) if self.path is not None else "the embedded default config"
