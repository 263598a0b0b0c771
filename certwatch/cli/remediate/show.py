"""Plans and proposals, for people and programs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from certwatch.cli.instants import iso, minute
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown

if TYPE_CHECKING:
    from certwatch.remediation.plan import Draft, Unplannable
    from certwatch.remediation.records import Plan


def show_proposals(
    proposals: "list[Draft | Unplannable]", saved: Mapping[Any, int], *, as_json: bool
) -> None:
    from certwatch.remediation.plan import Draft

    if as_json:
        write_json({"plans": [proposal_json(each, saved.get(each.former)) for each in proposals]})
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


def proposal_json(each: "Draft | Unplannable", number: int | None) -> dict[str, Any]:
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


def show_plan(plan: "Plan") -> None:
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


def plan_json(plan: "Plan") -> dict[str, Any]:
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
