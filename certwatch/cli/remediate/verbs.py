"""The verbs of `certwatch remediate`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from certwatch.cli.failure import ACTION, FAILED, OK, USAGE, Failed
from certwatch.cli.instants import minute
from certwatch.cli.options import config_option, current_clock, json_option
from certwatch.cli.remediate.carry import ended
from certwatch.cli.remediate.show import plan_json, proposal_json, show_plan, show_proposals
from certwatch.cli.remediate.stage import Stage, certificate_of, stage_of, told
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.remediation.records import Plan


@click.group(name="remediate")
def command() -> None:
    """Renew what must go, and see it served. Nothing happens without a policy that allows it.

    Findings lead to plans; people approve them, or the policy does; the daemon carries them out.
    """


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
    with stage_of(config) as stage:
        with stage.reading() as reader:
            if certificate is None:
                proposals = propose(reader, stage.policies, now)
            else:
                about = certificate_of(reader, certificate)
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
                        told(stage, "planned", {"plan": made.id, "by": person(), "title": made.title})
        else:
            saved = {each.former: each.id for each in stage.book.active()}
    show_proposals(proposals, saved, as_json=as_json)
    return ACTION if proposals else OK


@command.command()
@click.argument("id", type=click.IntRange(min=1))
@click.option("--why", required=True, metavar="TEXT", help="For the book and the ledger.")
@click.option("--by", metavar="NAME", help="Who. Else: whoever is logged in.")
@click.option(
    "--withdraw",
    is_flag=True,
    help="Take your approval back (what is under way is rolled back), or give the plan up before it has begun.",
)
@json_option
@config_option
def approve(id: int, why: str, by: str | None, withdraw: bool, as_json: bool, config: Path | None) -> int:
    """Approve a plan. The daemon begins it when the last approval that is needed is there."""
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    who = by or person()
    with stage_of(config) as stage:
        if withdraw:
            found = _withdrawn(stage, id, who, why)
        else:
            found = stage.book.approve(id, who, why, now)
        told(stage, "withdrawn" if withdraw else "approved", {"plan": id, "by": who, "why": why})
    if as_json:
        write_json(plan_json(found))
    else:
        left = found.needed - len(found.approvals)
        click.echo(f"plan {id}: {found.state}" + (f", {left} more must approve" if left > 0 else ""))
    return OK


def _withdrawn(stage: Stage, id: int, who: str, why: str) -> "Plan":
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
    with stage_of(config) as stage:
        found = ended(stage, id)
    if as_json:
        write_json(plan_json(found))
    else:
        click.echo(f"plan {id}: {found.state}" + (f": {shown(found.why)}" if found.why else ""))
    return OK if found.state == "verified" else ACTION


@command.command()
@click.argument("id", type=click.IntRange(min=1))
@click.option("--why", required=True, metavar="TEXT")
@json_option
@config_option
def rollback(id: int, why: str, as_json: bool, config: Path | None) -> int:
    """Put the former certificate back, while a plan is under way."""
    from certwatch.cli.ca.opening import person

    now = current_clock()()
    with stage_of(config) as stage:
        found = stage.book.plan(id)
        said = f"by {person()}: {why}"
        if not stage.book.turn(id, "rolling-back", now, if_in=("running", "verifying"), why=said):
            raise Failed(FAILED, f"plan {id} is {found.state}: only what is under way is rolled back")
        told(stage, "rollback", {"plan": id, "by": person(), "why": why})
        found = ended(stage, id)
    if as_json:
        write_json(plan_json(found))
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

    with stage_of(config) as stage:
        if id is not None:
            found = [stage.book.plan(id)]
        else:
            found = stage.book.plans("1 = 1", newest=None if all_ else 50)
            found.sort(key=lambda each: -each.id)
        incidents = standings(stage.book)
    if as_json:
        write_json(
            {
                "plans": [plan_json(each) for each in found],
                "incidents": [incident_json(each) for each in incidents],
            }
        )
        return OK
    if id is not None:
        show_plan(found[0])
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
    with stage_of(config) as stage:
        with stage.reading() as reader:
            about = certificate_of(reader, certificate)
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
        told(
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
                "unplannable": [proposal_json(each, None) for each in left],
                "affected": len(scope.affected),
            }
        )
    elif wait:
        click.echo(verdict(found, current_clock()()))
    return ACTION if left or (wait and not found.is_over) else OK
