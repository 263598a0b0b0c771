"""What there is to do, by the inventory and the policies: drafts, and what cannot be planned."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from certwatch.inventory.store import Reader
from certwatch.remediation.affected import Affected, affected_by_findings
from certwatch.remediation.book import Book
from certwatch.remediation.plan import Draft, Unplannable, begins, draft, urgency
from certwatch.remediation.policy import Policy, first_fitting

DAY = timedelta(days=1)
#: Roll-outs of one certificate that come to nothing: each has one issued, and public CAs give five of the same within a week.
MOST_A_WEEK = 5
#: Until collectors have surely looked again where something was replaced.
SEEN_AGAIN = timedelta(hours=1)


class Reading(Protocol):
    def __call__(self) -> AbstractContextManager[Reader]: ...


def propose(reader: Reader, policies: Sequence[Policy], now: datetime) -> list[Draft | Unplannable]:
    """The most urgent first. Changes nothing."""
    rules = {rule for policy in policies for rule in policy.keys.rules}
    found: list[tuple[Affected, Draft | Unplannable]] = []
    for affected in affected_by_findings(reader, rules, now):
        one = propose_one(affected, policies)
        if one is not None:
            found.append((affected, one))
    found.sort(key=lambda each: urgency(each[0]))
    return [each for _, each in found]


def propose_one(
    affected: Affected,
    policies: Sequence[Policy],
    *,
    drill: bool = False,
    for_findings: bool = True,
    lost: bool = False,
) -> Draft | Unplannable | None:
    """`lost`: its key or its CA is compromised. By the first policy that fits. None: none does, or that one does not act on these findings."""
    policy = first_fitting(policies, affected)
    if policy is None or (for_findings and not set(affected.causes) & set(policy.keys.rules)):
        return None
    return draft(affected, policy, drill=drill, lost=lost)


def take_up(
    book: Book, drafts: Sequence[Draft | Unplannable], policies: Sequence[Policy], now: datetime
) -> Iterator[int]:
    """Write down what nobody does yet: numbers of the new plans. One that has come to nothing too often within a day, or a
    week, waits for a person; one that was replaced just now, for the collectors."""
    keys = {each.name: each.keys for each in policies}
    for each in drafts:
        if (
            isinstance(each, Unplannable)
            or book.tried_since(each.former, now - DAY) >= keys[each.policy].most_tries
            or book.tried_since(each.former, now - 7 * DAY) >= max(MOST_A_WEEK, keys[each.policy].most_tries)
        ):
            continue
        places = {*each.served, *(step.target for step in each.steps if step.kind == "deploy")}
        if places & book.verified_places(each.former, now - SEEN_AGAIN):
            continue
        plan = book.add(each, now, by="certwatch", later=begins(each, keys[each.policy].spread, now))
        if plan is not None:
            yield plan.id
