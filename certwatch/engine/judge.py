"""What the configured rules say of one location: pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from certwatch.expressions.findings import Silences
from certwatch.inventory.store import Due, Judgement, RuleProblem
from certwatch.model.finding import Problem
from certwatch.model.location import LOGGED_KINDS, Location
from certwatch.model.mark import Marks
from certwatch.model.sighting import Served
from certwatch.plugins.guard import PluginFailed, guard
from certwatch.plugins.rule import NO_MARKS, Rule, RuleConfig, Until, World

NONE_SILENCED = Silences()
#: What one rule may say of one location; more is a fault of the rule.
MAX_SAID = 1000
#: A location that some rule could not judge is judged again after this, though nothing changed.
RETRY_FAILED = timedelta(hours=6)


#: Names the trust stores that a place is judged by, with commas between them. Absent: all of them.
TRUST_LABEL = "trust"
#: Different labels that are remembered: a source may make up what it likes.
MOST_TRUST_LABELS = 1000


def stores_named(label: str) -> frozenset[str]:
    return frozenset(each.strip() for each in label.split(",")) - {""}


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveRule:
    rule: Rule
    config: RuleConfig


def nobody(served: Served) -> str:
    """Owners are not configured."""
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All that a judgement depends on beside the location and the instant."""

    rules: tuple[ActiveRule, ...] = ()
    #: Rules that are wanted but could not be loaded: what they found before stays as it is.
    broken: frozenset[str] = frozenset()
    #: Trust stores by name.
    trust: Mapping[str, Any] = field(default_factory=dict)
    #: Keys that are known to be compromised (`certwatch.pki.known_keys.KnownKeys`). None: no list is configured.
    known_keys: Any = None
    #: The team that answers for a location; empty: nobody.
    owner_of: Callable[[Served], str] = nobody
    #: Another one means that everything must be judged anew.
    digest: str = ""
    # Which of them concern a kind of places, as far as it was asked. Threads may race: both find the same.
    _by_kind: dict[str, tuple[ActiveRule, ...]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    # The same of labels that name trust stores.
    _by_label: dict[str, Mapping[str, Any]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def trust_at(self, location: Location) -> Mapping[str, Any]:
        """The stores that its label `trust` names, all where it names none that there is. The same object for the same label."""
        said = location.labels.get(TRUST_LABEL)
        if not said:
            return self.trust
        found = self._by_label.get(said)
        if found is None:
            wanted = stores_named(said)
            named = {name: store for name, store in self.trust.items() if name in wanted}
            found = named or self.trust
            if len(self._by_label) < MOST_TRUST_LABELS:
                self._by_label[said] = found
        return found

    def concerning(self, kind: str) -> tuple[ActiveRule, ...]:
        """Those that have a word on this kind of places."""
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = tuple(each for each in self.rules if each.rule.concerns_kind(kind))
        return found


def judge(
    due: Due,
    rules: RuleSet,
    now: datetime,
    silences: Silences = NONE_SILENCED,
    marks: Marks = NO_MARKS,
) -> tuple[Judgement, Served]:
    """The judgement, and the location with its present owner.

    A retired location has no problems. A rule that fails is silent: its findings stay as they are. An instant of
    change that is not after `now` says nothing: the rule has been asked at `now`.
    """
    served = _with_owner(due.served, rules)
    if served.retired_at is not None:
        return _judgement(due, served, (), frozenset(), None), served
    problems: list[RuleProblem] = []
    silent = set(rules.broken)
    due_at: datetime | None = None
    world = World(
        now=now,
        trust=rules.trust_at(served.location),
        known_keys=rules.known_keys,
        neighbours=due.neighbours,
        issuers=due.issuers,
        sharers=due.sharers,
        withdrawn_at=due.withdrawn_at,
        books=due.books,
        lints=due.lints,
        renewals=due.renewals,
        endpoints=due.endpoints,
        twins=due.twins,
        marks=marks,
    )
    for active in rules.concerning(served.location.kind):
        rule = active.rule
        # The guard stands around what went wrong, not around each call: a million locations have forty rules each.
        try:
            said: list[Problem | Until] | None = None
            # Nearly all rules have nothing to say of nearly all places: nothing is made for them.
            for word in rule.evaluate(served, active.config, world):
                if said is None:
                    said = [word]
                    continue
                said.append(word)
                if len(said) > MAX_SAID:
                    break
            if said is None:
                continue
            _check(said, served)
        except Exception:
            try:
                with guard("rules", rule.id):
                    raise
            except PluginFailed:
                silent.add(rule.id)
                continue
        for each in said:
            if isinstance(each, Problem):
                silence = silences.covering(rule.id, each, served, now)
                problems.append(
                    RuleProblem(rule=rule.id, runbook=rule.runbook, problem=each, silence=silence)
                )
                if silence is not None and (due_at is None or silence.until < due_at):
                    due_at = silence.until
            elif each.instant > now and (due_at is None or each.instant < due_at):
                due_at = each.instant
    if silent - rules.broken:
        retry = now + RETRY_FAILED
        due_at = retry if due_at is None else min(due_at, retry)
    return _judgement(due, served, tuple(problems), frozenset(silent), due_at), served


def _check(said: Sequence[object], served: Served) -> None:
    """Raises ValueError, TypeError: a rule may not say that."""
    if len(said) > MAX_SAID:
        raise ValueError(f"said more than {MAX_SAID} things of {served.location.uri}")
    for each in said:
        if isinstance(each, Until):
            if each.instant.tzinfo is None:
                raise ValueError(f"named an instant without a time zone: {each.instant}")
        elif not isinstance(each, Problem):
            raise TypeError(f"said {type(each).__name__}, not Problem or Until")


def _with_owner(served: Served, rules: RuleSet) -> Served:
    try:
        with guard("rules", "owners"):
            owner = rules.owner_of(served)
    except PluginFailed:
        return served  # whoever answered for it before still does
    return served if owner == served.owner else replace(served, owner=owner)


def _judgement(
    due: Due,
    served: Served,
    problems: tuple[RuleProblem, ...],
    silent: frozenset[str],
    due_at: datetime | None,
) -> Judgement:
    return Judgement(
        location_id=served.id,
        revision=due.revision,
        owner=served.owner,
        problems=problems,
        silent=silent,
        due_at=due_at,
        wakes=_concerned(due, served) if due.changed else frozenset(),
    )


def _concerned(due: Due, served: Served) -> frozenset[int]:
    """Whose judgement depends on this one. A wildcard on four hundred hosts of one team wakes nobody: there is nothing
    to say of it."""
    environment = served.location.labels.get("environment")
    others = [
        each.location_id
        for each in due.sharers
        if (each.owner, each.location.labels.get("environment")) != (served.owner, environment)
        or served.leaf is None
        or each.certificate.fingerprint_sha256 != served.leaf.fingerprint_sha256
    ]
    # A certificate in a log is expected if it is known from elsewhere, and told of once for all logs.
    logged = [each.location_id for each in due.twins if each.location.kind in LOGGED_KINDS]
    return frozenset([*(each.location_id for each in due.neighbours), *others, *logged])
