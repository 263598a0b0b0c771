"""What may be done, by the config: policies with their plug-ins made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from certwatch.config.remediation import PolicyKeys
from certwatch.config.settings import PluginSettings, PolicySettings, RemediationSettings
from certwatch.expressions.condition import Expression
from certwatch.expressions.owners import subject_of
from certwatch.plugins import registry
from certwatch.plugins.deployer import Deployer, DeployerContext
from certwatch.plugins.issuer import Issuer, IssuerContext
from certwatch.remediation.affected import Affected


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    keys: PolicyKeys
    when: Expression | None
    issuer: Issuer
    #: In the config's order.
    deployers: tuple[Deployer, ...]
    #: The same for policies whose issuer is the same: they share its limits. Empty: it is the policy's alone.
    issuer_id: str = ""

    @property
    def name(self) -> str:
        return self.keys.name

    @property
    def needed(self) -> int:
        """People who must approve."""
        return {"automatic": 0, "one": 1, "two": 2}[self.keys.approve]

    def fits(self, affected: Affected) -> bool:
        if self.when is None:
            return True
        return any(self.when.matches(subject_of(each)) for each in (*affected.served, *affected.stored))

    def service_of(self, affected: Affected) -> str:
        """Values of the label that names services, of all its places, one a line. Empty: there is none."""
        label = self.keys.service
        if label is None:
            return ""
        places = (*affected.served, *affected.stored)
        return "\n".join(
            sorted({each.location.labels[label] for each in places if label in each.location.labels})
        )

    def frozen_at(self, now: datetime) -> bool:
        return any(each.from_ <= now.date() <= each.until for each in self.keys.freeze)


def policies_of(
    settings: RemediationSettings, issuer: IssuerContext, deployer: DeployerContext
) -> tuple[Policy, ...]:
    """Blocking: imports plug-ins. Raises registry.PluginError."""
    return tuple(_policy(each, issuer, deployer) for each in settings.policies)


def _policy(settings: PolicySettings, issuer: IssuerContext, deployer: DeployerContext) -> Policy:
    def deployer_of(each: PluginSettings) -> Deployer:
        made: Deployer = registry.load("deployers", each.kind)(each.config, deployer)
        return made

    plugin: Any = registry.load("issuers", settings.issuer.kind)
    return Policy(
        keys=settings.keys,
        when=settings.when,
        issuer=plugin(settings.issuer.config, issuer),
        deployers=tuple(deployer_of(each) for each in settings.deploy),
        issuer_id=f"{settings.issuer.kind} {settings.issuer.config.model_dump_json()}",
    )


def first_fitting(policies: Sequence[Policy], affected: Affected) -> Policy | None:
    return next((each for each in policies if each.fits(affected)), None)
