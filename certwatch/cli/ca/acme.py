"""`certwatch ca` for ACME: who may make accounts, and who is told to renew."""

from typing import Any

import click

from certwatch.cli.ca.opening import Opening, ca_options, person
from certwatch.cli.failure import OK, USAGE, Failed
from certwatch.cli.options import json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown


@click.command()
@click.argument("name")
@click.option("--end", is_flag=True, help="No accounts by it any more; those it has made are deactivated.")
@json_option
@ca_options
def binding(opening: Opening, name: str, end: bool, as_json: bool) -> int:
    """Make an external account binding for ACME clients: a key id (NAME) and an HMAC key, shown this once.

    Profiles name its accounts as the requester "acme:NAME".
    """
    if end:
        answer = opening.ask("unbind", {"kid": name, "person": person()})
        if as_json:
            write_json(answer)
        _say(f"{name}: ended, with {answer['accounts']} accounts")
        return OK
    answer = opening.ask("bind", {"kid": name, "person": person()})
    if as_json:
        write_json(answer)
    else:
        click.echo(answer["hmac_key"])
    _say(f"{name}: the key id. The HMAC key is not shown again: give both to the client")
    return OK


@click.command(name="renew-now")
@click.argument("serials", nargs=-1, metavar="[SERIAL…]")
@click.option("--issuer", help="All valid certificates of this issuer.")
@click.option("--all", "all_", is_flag=True, help="All valid certificates.")
@click.option("--why", required=True, help="For the ledger.")
@json_option
@ca_options
def renew_now(
    opening: Opening, serials: tuple[str, ...], issuer: str | None, all_: bool, why: str, as_json: bool
) -> int:
    """Tell ACME clients to renew at once (ARI), without revoking: after a compromise, before a revocation."""
    if (bool(serials) + (issuer is not None) + all_) != 1:
        raise Failed(USAGE, "name serial numbers, or --issuer NAME, or --all")
    values: dict[str, Any] = {"serials": list(serials), "issuer": issuer, "why": why, "person": person()}
    answer = opening.ask("renew-now", values)
    if as_json:
        write_json(answer)
    _say(f"{answer['called']} certificates: their clients are told to renew when they ask next, within hours")
    return OK


def _say(message: str) -> None:
    click.echo(f"certwatch: {shown(message)}", err=True)
