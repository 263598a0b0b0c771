"""What a rule promises: it judges what is known, at an instant, without I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from certwatch.model.books import Books
from certwatch.model.certificate import Certificate, Fingerprint
from certwatch.model.finding import Problem, Severity
from certwatch.model.lint import Lint
from certwatch.model.location import RECORD_KINDS
from certwatch.model.mark import Marks
from certwatch.model.neighbour import Endpoint, Neighbour, Sharer, Twin
from certwatch.model.renewal import Renewal
from certwatch.model.sighting import Served


class RuleConfig(BaseModel):
    """Base of every rule's `Config`. All keys have defaults: absent works."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """The rule's answer may be another from this instant on, though nothing else changes."""

    instant: datetime


NO_MARKS = Marks()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What a rule may look at beside the location itself. Values only."""

    now: datetime
    #: Trust stores by name (`certwatch.pki.trust.TrustStore`), in the configured order.
    trust: Mapping[str, Any] = field(default_factory=dict)
    #: Keys whose private half is known to others (`certwatch.pki.known_keys.KnownKeys`). None: no list is configured.
    known_keys: Any = None
    #: Other live places whose leaf shares a name with this location's and is another certificate; some dozens at most. When
    #: one of them changes, this location is judged anew.
    neighbours: Sequence[Neighbour] = ()
    #: CA certificates that were fetched from where the chain's own certificates say that their issuer is (AIA), and that the
    #: chain does not have: nearest first. Unverified.
    issuers: Sequence[Certificate] = ()
    #: Other live places whose leaf has the same key; some dozens at most. When one of them changes, this location is judged
    #: anew.
    sharers: Sequence[Sharer] = ()
    #: Other places that have, or had, the same issuance (a certificate and its precertificate are one), as long as certificates
    #: of CT logs are known at all. When one of them changes, those of logs are judged anew.
    twins: Sequence[Twin] = ()
    #: Where certificates lie: when the last endpoint stopped to serve this leaf. None: one still does, or none ever did.
    withdrawn_at: datetime | None = None
    #: What the books of our CAs say of the leaf. None: no CA's database is read, or the leaf is a CA.
    books: Books | None = None
    #: What the linter found in certificates of the chain; those without, or not yet linted, are absent.
    lints: Mapping[Fingerprint, Sequence[Lint]] = field(default_factory=dict)
    #: Where the facts name a host that is expected: live TLS endpoints that are looked at for it, some dozens at most. One
    #: that comes or goes wakes nobody.
    endpoints: Sequence[Endpoint] = ()
    #: Leaves that were replaced at this place, the latest ones, oldest first.
    renewals: Sequence[Renewal] = ()
    #: What people say of certificates: compromised, retired. When one of them changes, the places that it may be about are
    #: judged anew.
    marks: Marks = NO_MARKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that is checked. Findings are level-triggered: `evaluate` says what holds now; what it says no
    more is resolved by the engine."""

    #: Kebab-case, the same as the entry point's name.
    id: str
    title: str
    #: Why it matters, what to do, how to see it: what `certwatch rules explain` prints (plain Markdown).
    why: str
    fix: str
    #: The gravest it says by default.
    severity: Severity
    #: Where it comes from: "RFC 8446, 4.4.2".
    source: str
    #: Pure function (location, its own Config, world) -> problems now, and instants of change. Yields at most one
    #: `Problem` a certificate. Never raises on any certificate; never looks at a clock.
    evaluate: Callable[[Served, Any, World], Iterable[Problem | Until]]
    Config: type[RuleConfig] = RuleConfig
    #: Kinds of locations ("tls", "file") that it has a word on; nothing is said of others. None: all where certificates are in
    #: use, so not those of `RECORD_KINDS`.
    kinds: frozenset[str] | None = None

    def concerns(self, served: Served) -> bool:
        return self.concerns_kind(served.location.kind)

    def concerns_kind(self, kind: str) -> bool:
        return kind not in RECORD_KINDS if self.kinds is None else kind in self.kinds

    @property
    def runbook(self) -> str:
        """Path of its page below the documentation's root."""
        return f"docs/rules/{self.id}.md"


def explain(rule: Rule) -> str:
    """The rule's page, as Markdown: what `certwatch rules explain` prints and `docs/rules/` holds."""
    settings = "".join(
        f"- `{name}`: default `{value}`\n" for name, value in rule.Config().model_dump(mode="json").items()
    )
    return (
        f"# {rule.title}\n\n"
        f"Rule `{rule.id}` · gravest severity `{rule.severity}` · source: {rule.source}\n\n"
        f"## Why\n\n{rule.why}\n\n"
        f"## What to do\n\n{rule.fix}\n"
        + (
            f"\n## Settings\n\nUnder `rules: {{{rule.id}: …}}` in the config:\n\n{settings}"
            if settings
            else ""
        )
    )
