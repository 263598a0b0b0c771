"""`certwatch remediate`."""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import iso, minute
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.config.settings import Config
    from certwatch.inventory.store import Reader
    from certwatch.model.certificate import Certificate
    from certwatch.remediation.book import Book, Plan
    from certwatch.remediation.plan import Draft, Unplannable
    from certwatch.remediation.policy import Policy

#: Between two looks at a plan that the daemon carries out.
POLL_SECONDS = 0.3


@click.group(name="remediate")
def command() -> None:
    """Renew what must go, and see it served. Nothing happens without a policy that allows it.

    Findings lead to plans; people approve them, or the policy does; the daemon carries them out.
    """


@dataclass(frozen=True, slots=True)
class _Stage:
    config: "Config"
    policies: "tuple[Policy, ...]"
    book: "Book"
    ask_ca: Any

    @contextmanager
    def reading(self) -> "Iterator[Reader]":
        from certwatch.inventory.open import open_inventory

        reader = open_inventory(self.config.inventory, create=False).reader()
        try:
            yield reader
        finally:
            reader.close()


@contextmanager
def _stage(config: Path | None) -> Iterator[_Stage]:
    from certwatch.cli.ca.opening import Opening
    from certwatch.config.load import load
    from certwatch.remediation.book import Book
    from certwatch.remediation.opening import folder_of, made_policies

    checked = load(config, env=os.environ)
    if checked.remediation is None or not checked.remediation.policies:
        raise Failed(
            USAGE, "remediation: the config has no policy, so nothing may be done. See docs/remediation.md"
        )
    opening = Opening(config=config, directory=None, pkcs11=None, key_file=None)

    def ask(act: str, values: Mapping[str, Any]) -> dict[str, Any]:
        return opening.ask(act, dict(values))

    ask_ca = ask if checked.ca is not None else None
    book = Book(folder_of(checked, os.environ))
    try:
        policies = made_policies(checked, os.environ, current_clock(), ask_ca)
        yield _Stage(checked, policies, book, ask_ca)
    finally:
        book.close()


@command.command()
@click.argument("certificate", required=False)
@click.option("--save", is_flag=True, help="Write the plans down, to be approved and carried out.")
@json_option
@config_option
def plan(certificate: str | None, save: bool, as_json: bool, config: Path | None) -> int:
    """Show what would be done: about all findings that policies act on, or about one CERTIFICATE (its fingerprint).

    Changes nothing without --save. Exit status 1: there is something to do.
    """
    from certwatch.cli.ca.opening import person
    from certwatch.remediation.affected import affected_one
    from certwatch.remediation.plan import Draft
    from certwatch.remediation.propose import propose, propose_one

    now = current_clock()()
    with _stage(config) as stage:
        with stage.reading() as reader:
            if certificate is None:
                proposals = propose(reader, stage.policies, now)
            else:
                about = _certificate(reader, certificate)
                affected = affected_one(reader, about.fingerprint_sha256, now)
                if affected is None:
                    raise Failed(FAILED, f"{about.shown}: is served nowhere, or is a CA's")
                one = propose_one(affected, stage.policies, for_findings=False)
                proposals = [one] if one is not None else []
                if one is None:
                    raise Failed(FAILED, f"{about.shown}: no policy fits it")
        saved = {}
        if save:
            for each in proposals:
                if isinstance(each, Draft):
                    made = stage.book.add(each, now, by=person())
                    if made is not None:
                        saved[each.former] = made.id
                        _note(stage, "planned", {"plan": made.id, "by": person(), "title": made.title})
        else:
            saved = {each.former: each.id for each in stage.book.active()}
    _show_proposals(proposals, saved, as_json=as_json)
    return ACTION if proposals else OK


def _show_proposals(
    proposals: "list[Draft | Unplannable]", saved: Mapping[Any, int], *, as_json: bool
) -> None:
    from certwatch.remediation.plan import Draft

    if as_json:
        write_json({"plans": [_proposal_json(each, saved.get(each.former)) for each in proposals]})
        return
    if not proposals:
        click.echo("certwatch: nothing is to be done", err=True)
    for each in proposals:
        number = saved.get(each.former)
        head = f"{shown(each.title)}  {each.former.hex()[:16]}  ({', '.join(each.cause) or 'asked for'})"
        click.echo(head + (f"  plan {number}" if number is not None else ""))
        if not isinstance(each, Draft):
            click.echo(f"  cannot be planned: {shown(each.why)}")
            continue
        people = {0: "nobody has to approve", 1: "one person approves"}.get(
            each.needed, f"{each.needed} people approve"
        )
        click.echo(f"  policy {each.policy}: {people}" + (f" ({shown(each.why)})" if each.why else ""))
        for place, step in enumerate(each.steps, 1):
            click.echo(f"  {place}. {_words(step.kind, step.target, each.served, each.names)}")


def _words(kind: str, target: str, served: tuple[str, ...], names: tuple[str, ...]) -> str:
    if kind == "issue":
        return f"have a certificate made for {shown(', '.join(names[:5]))}" + (" …" if len(names) > 5 else "")
    if kind == "deploy":
        return f"put it at {shown(target)}, and have it taken up"
    if kind == "verify" and target:
        return f"see it at {shown(target)} before the others are touched"
    if kind == "verify":
        where = f"{len(served)} places" if len(served) != 1 else shown(served[0])
        return f"see it served at {where}; else put the former one back"
    return "revoke the former one"


def _proposal_json(each: "Draft | Unplannable", number: int | None) -> dict[str, Any]:
    from certwatch.remediation.plan import Draft

    said: dict[str, Any] = {
        "plan": number,
        "title": each.title,
        "fingerprint_sha256": each.former.hex(),
        "cause": list(each.cause),
        "why": each.why,
    }
    if isinstance(each, Draft):
        said |= {
            "policy": each.policy,
            "approvals": each.needed,
            "names": list(each.names),
            "served": list(each.served),
            "steps": [{"kind": step.kind, "target": step.target or None} for step in each.steps],
        }
    return said


@command.command()
@click.argument("id", type=click.IntRange(min=1))
@click.option("--why", required=True, metavar="TEXT", help="For the book and the ledger.")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@click.option(
    "--withdraw", is_flag=True, help="Take your approval back, or give the plan up before it has begun."
)
@json_option
@config_option
def approve(id: int, why: str, by: str | None, withdraw: bool, as_json: bool, config: Path | None) -> int:
    """Approve a plan. The daemon begins it when the last approval that is needed is there."""
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    who = by or person()
    with _stage(config) as stage:
        if withdraw:
            found = _withdrawn(stage, id, who, why)
        else:
            found = stage.book.approve(id, who, why, now)
        _note(stage, "withdrawn" if withdraw else "approved", {"plan": id, "by": who, "why": why})
    if as_json:
        write_json(_plan_json(found))
    else:
        left = found.needed - len(found.approvals)
        click.echo(f"plan {id}: {found.state}" + (f", {left} more must approve" if left > 0 else ""))
    return OK


def _withdrawn(stage: _Stage, id: int, who: str, why: str) -> "Plan":
    now = current_clock()()
    found = stage.book.plan(id)
    if any(each.person == who for each in found.approvals):
        found = stage.book.withdraw_approval(id, who, now)
    elif not stage.book.turn(id, "withdrawn", now, if_in=("waiting", "approved"), why=f"by {who}: {why}"):
        raise Failed(
            FAILED,
            f"plan {id} is {found.state}: what has begun is ended by: certwatch remediate rollback {id}",
        )
    return stage.book.plan(id)


@command.command(name="apply")
@click.argument("id", type=click.IntRange(min=1))
@json_option
@config_option
def apply_(id: int, as_json: bool, config: Path | None) -> int:
    """Carry a plan out that is approved: by the daemon if it runs, else here. Exit status 1: it was rolled back or failed."""
    with _stage(config) as stage:
        found = _ended(stage, id)
    if as_json:
        write_json(_plan_json(found))
    else:
        click.echo(f"plan {id}: {found.state}" + (f": {shown(found.why)}" if found.why else ""))
    return OK if found.state == "verified" else ACTION


def _ended(stage: _Stage, id: int) -> "Plan":
    from certwatch.remediation.failure import RemediationError
    from certwatch.remediation.opening import folder_of
    from certwatch.remediation.running import ExecutorLock

    found = stage.book.plan(id)
    if found.state == "waiting":
        raise Failed(FAILED, f"plan {id} waits for approval: certwatch remediate approve {id} --why TEXT")
    try:
        lock = ExecutorLock(folder_of(stage.config, os.environ))
    except RemediationError as error:
        if error.kind != "refused":
            raise
        while found.is_active:
            time.sleep(POLL_SECONDS)
            found = stage.book.plan(id)
        return found
    try:
        return asyncio.run(_carry_out(stage, id))
    finally:
        lock.release()


async def _carry_out(stage: _Stage, id: int) -> "Plan":
    from certwatch.remediation.apply import carry_out
    from certwatch.remediation.opening import world_of

    def look_again(collectors: Any) -> None:
        names = " ".join(collectors)
        if names:
            click.echo(f"certwatch: the inventory sees it with: certwatch collect {names}", err=True)

    world = world_of(
        stage.config,
        os.environ,
        current_clock(),
        book=stage.book,
        policies=stage.policies,
        reading=stage.reading,
        ask_ca=stage.ask_ca,
        look_again=look_again,
    )
    return await carry_out(world, id)


@command.command()
@click.argument("id", type=click.IntRange(min=1))
@click.option("--why", required=True, metavar="TEXT")
@json_option
@config_option
def rollback(id: int, why: str, as_json: bool, config: Path | None) -> int:
    """Put the former certificate back, while a plan is under way."""
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    with _stage(config) as stage:
        found = stage.book.plan(id)
        said = f"by {person()}: {why}"
        if not stage.book.turn(id, "rolling-back", now, if_in=("running", "verifying"), why=said):
            raise Failed(FAILED, f"plan {id} is {found.state}: only what is under way is rolled back")
        _note(stage, "rollback", {"plan": id, "by": person(), "why": why})
        found = _ended(stage, id)
    if as_json:
        write_json(_plan_json(found))
    else:
        click.echo(f"plan {id}: {found.state}")
    return OK if found.state == "rolled-back" else ACTION


@command.command()
@click.argument("id", type=click.IntRange(min=1), required=False)
@click.option("--all", "all_", is_flag=True, help="Those that ended long ago, too.")
@json_option
@config_option
def status(id: int | None, all_: bool, as_json: bool, config: Path | None) -> int:
    """Show plans: what waits, what runs, what became of the last fifty, and incidents; or one plan with its steps."""
    from certwatch.cli.incidents import as_json as incident_json
    from certwatch.cli.incidents import standings, write_incidents

    with _stage(config) as stage:
        if id is not None:
            found = [stage.book.plan(id)]
        else:
            found = stage.book.plans("1 = 1", newest=None if all_ else 50)
            found.sort(key=lambda each: -each.id)
        incidents = standings(stage.book)
    if as_json:
        write_json(
            {
                "plans": [_plan_json(each) for each in found],
                "incidents": [incident_json(each) for each in incidents],
            }
        )
        return OK
    if id is not None:
        _show_plan(found[0])
        return OK
    rows = (
        (
            str(each.id),
            each.state,
            each.title,
            each.policy,
            ", ".join(each.cause),
            minute(each.created),
            each.why,
        )
        for each in found
    )
    if not write_table(("plan", "state", "title", "policy", "cause", "created", "why"), rows, spare=("why",)):
        click.echo("certwatch: no plan yet", err=True)
    if incidents:
        click.echo()
        write_incidents(incidents, current_clock()())
    return OK


def _show_plan(plan: "Plan") -> None:
    click.echo(f"plan {plan.id}  {plan.state}  {shown(plan.title)}" + ("  (drill)" if plan.drill else ""))
    if plan.why:
        click.echo(f"  {shown(plan.why)}")
    click.echo(
        f"  policy {plan.policy}, asked by {shown(plan.by)} at {minute(plan.created)}, for {', '.join(plan.cause) or '—'}"
    )
    for approval in plan.approvals:
        click.echo(f"  approved by {shown(approval.person)} at {minute(approval.at)}: {shown(approval.why)}")
    for step in plan.steps:
        words = _words(step.kind, step.target, plan.served, plan.names)
        said = f"  ({shown(step.said)})" if step.said else ""
        click.echo(f"  {step.place + 1}. {step.state:7} {words}{said}")


@command.command()
@click.argument("certificate")
@click.option("--why", required=True, metavar="TEXT")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@click.option(
    "--drill",
    metavar="LABEL=VALUE",
    help="An exercise: only certificates all of whose places have this label. Nothing is marked.",
)
@click.option("--wait", is_flag=True, help="Until all is replaced; then say how long it took (M10).")
@json_option
@config_option
def compromise(
    certificate: str,
    why: str,
    by: str | None,
    drill: str | None,
    wait: bool,
    as_json: bool,
    config: Path | None,
) -> int:
    """Somebody else may have the key of CERTIFICATE (a fingerprint; of a CA: all that it issued): replace everything
    that it affects, and measure how long it takes.

    Marks it as compromised (certwatch mark), and writes a plan for each certificate, the most urgent first.
    """
    from certwatch.cli.ca.opening import person
    from certwatch.cli.incidents import as_json as incident_json
    from certwatch.cli.incidents import standings, verdict, wait_for
    from certwatch.inventory.open import open_inventory
    from certwatch.model.mark import Mark, MarkID
    from certwatch.remediation.compromise import open_incident, scope_of

    now = current_clock()()
    who = by or person()
    label: tuple[str, str] | None = None
    if drill is not None:
        key, equals, value = drill.partition("=")
        if not equals or not key:
            raise Failed(USAGE, "--drill: a label and its value, like environment=staging")
        label = (key, value)
    with _stage(config) as stage:
        with stage.reading() as reader:
            about = _certificate(reader, certificate)
            scope = scope_of(reader, about, now, label=label)
        if drill is None:
            open_inventory(stage.config.inventory, create=False).mark(
                Mark(
                    id=MarkID(0),
                    kind="compromised",
                    certificate=about,
                    author=who,
                    reason=why,
                    created_at=now,
                )
            )
        incident, plans, left = open_incident(
            stage.book, scope, stage.policies, now, by=who, why=why, drill=drill is not None
        )
        _note(
            stage,
            "compromise",
            {
                "incident": incident,
                "about": about.fingerprint_sha256.hex(),
                "by": who,
                "why": why,
                "drill": bool(drill),
            },
        )
        if not as_json:
            click.echo(f"incident {incident}: {len(scope.affected)} certificates, {len(plans)} plans")
            for each in left:
                click.echo(f"  {shown(each.title)}: {shown(each.why)}")
        found = wait_for(stage.book, incident) if wait else standings(stage.book)[0]
    if as_json:
        write_json(
            {
                "incident": incident_json(found),
                "plans": plans,
                "unplannable": [_proposal_json(each, None) for each in left],
                "affected": len(scope.affected),
            }
        )
    elif wait:
        click.echo(verdict(found, current_clock()()))
    return ACTION if left or (wait and not found.is_over) else OK


def _certificate(reader: "Reader", prefix: str) -> "Certificate":
    digits = prefix.replace(":", "").lower()
    if len(digits) < 8 or any(each not in "0123456789abcdef" for each in digits):
        raise Failed(USAGE, f"{shown(prefix)}: not a fingerprint (8 hex digits or more)")
    found = reader.certificate(digits, current_clock()())
    if not found:
        raise Failed(FAILED, f"{shown(prefix)}: no such certificate. Search with: certwatch list")
    if len(found) > 1:
        raise Failed(USAGE, f"{shown(prefix)}: {len(found)} certificates begin so. Give more digits")
    return found[0].certificate


def _note(stage: _Stage, event: str, fields: dict[str, Any]) -> None:
    from certwatch.remediation.opening import note

    note(stage.ask_ca, event, fields)


def _plan_json(plan: "Plan") -> dict[str, Any]:
    return {
        "id": plan.id,
        "state": plan.state,
        "title": plan.title,
        "policy": plan.policy,
        "cause": list(plan.cause),
        "fingerprint_sha256": plan.former.hex(),
        "names": list(plan.names),
        "served": list(plan.served),
        "by": plan.by,
        "approvals": [{"by": each.person, "at": iso(each.at), "why": each.why} for each in plan.approvals],
        "approvals_needed": plan.needed,
        "drill": plan.drill,
        "incident": plan.incident,
        "created": iso(plan.created),
        "began": iso(plan.began),
        "ended": iso(plan.ended),
        "why": plan.why,
        "steps": [
            {
                "kind": each.kind,
                "target": each.target or None,
                "state": each.state,
                "began": iso(each.began),
                "ended": iso(each.ended),
                "said": each.said,
            }
            for each in plan.steps
        ],
    }
