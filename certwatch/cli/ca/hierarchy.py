"""`certwatch ca` for issuers: rotation, cross-signing, the ceremony of an offline root."""

import platform
from pathlib import Path
from typing import Any

import click

from certwatch.cli.ca.opening import Opening, ca_options, person
from certwatch.cli.ca.showing import KEY_TYPES, issued, read_file, say, write_out
from certwatch.cli.failure import OK, USAGE, Failed
from certwatch.cli.instants import duration
from certwatch.cli.options import json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.text import shown


@click.command()
@click.argument("issuer", required=False)
@click.option("--apply", is_flag=True, help="Do it. Without, the plan is shown and nothing is done.")
@click.option(
    "--successor",
    metavar="NAME",
    help='What the new one is called. Else the name with a number: "Issuing 2".',
)
@click.option("--key-type", type=KEY_TYPES, default="ec-p256", show_default=True)
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificate of the new one, or its CSR where the root is elsewhere, PEM. Else standard output.",
)
@json_option
@ca_options
def rotate(
    opening: Opening,
    issuer: str | None,
    apply: bool,
    successor: str | None,
    key_type: str,
    out: Path | None,
    as_json: bool,
) -> int:
    """Have a new intermediate take over from ISSUER (the one that issues now, if none is named)."""
    wish = {"issuer": issuer, "successor": successor}
    planned = opening.ask("rotation-plan", wish)
    if not apply:
        if as_json:
            write_json({"plan": planned})
        else:
            for number, line in enumerate(_plan(planned, key_type), 1):
                click.echo(f"{number}. {shown(line)}")
            say("nothing was done. Do it: --apply")
        return OK
    settings, _ = opening.settings()
    made = opening.ask(
        "rotate", {**wish, "key_type": key_type, "place": settings.key_place, "person": person()}
    )
    if as_json:
        write_json(made)
    if made["certificate"] is None:
        say(
            f"{made['successor']}: waits for its certificate. Have the root sign the CSR, then:"
            f" certwatch ca init --intermediate --name {made['successor']!r} --certificate FILE"
        )
    else:
        say(f"{made['successor']}: issues from now on; {made['issuer']} stays for what it made")
    if out is not None or not as_json:
        write_out(out, (made["certificate"] or made["csr"]).encode())
    return OK


def _plan(planned: dict[str, Any], key_type: str) -> list[str]:
    live, until = planned["live"], planned["live_until"]
    signer = (
        f"have the root {planned['root']} sign it"
        if planned["root"] is not None
        else "write its CSR, to be signed by the root elsewhere"
    )
    stays = (
        f"keep {planned['issuer']} (until {planned['ends']}) for its {live} live certificates, the last until {until}"
        if live
        else f"keep {planned['issuer']} until {planned['successor']} has its certificate: nothing live depends on it"
    )
    place = f", for environment {planned['environment']}" if planned["environment"] else ""
    return [
        f"make {planned['successor']}: a key of kind {key_type}{place}; {signer}",
        f"have {planned['successor']} issue what is asked for from then on, with its own chain",
        stays,
        f"retire {planned['issuer']} when nothing live depends on it; its CRLs and OCSP answers go on until {planned['ends']}",
    ]


@click.command(name="cross-sign")
@click.argument("certificate", type=click.Path(path_type=Path))
@click.option("--issuer", help="By which issuer. Else the newest root.")
@click.option("--profile", default="cross", show_default=True, help="One of usage intermediate.")
@click.option(
    "--lifetime", metavar="SPAN", help="Else the profile's, and never beyond the certificate's own end."
)
@click.option("--out", metavar="FILE", type=click.Path(path_type=Path), help="PEM. Else standard output.")
@json_option
@ca_options
def cross_sign(
    opening: Opening,
    certificate: Path,
    issuer: str | None,
    profile: str,
    lifetime: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Certify the key and name of another root (self-signed CERTIFICATE), for those who trust this one."""
    answer = opening.ask(
        "cross-sign",
        {
            "certificate": read_file(certificate).decode("ascii", "replace"),
            "issuer": issuer,
            "profile": profile,
            "lifetime_seconds": None if lifetime is None else int(duration(lifetime).total_seconds()),
            "person": person(),
        },
    )
    return issued(answer, out, as_json=as_json)


@click.command()
@click.option("--name", required=True, help="What the root is called. It is made if it is not there yet.")
@click.option(
    "--csr",
    "csrs",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Of an intermediate.",
)
@click.option("--profile", default="intermediate", show_default=True, help="Of the intermediates.")
@click.option(
    "--witness", "witnesses", multiple=True, metavar="PERSON", help="Who watches, and signs the transcript."
)
@click.option("--key-type", type=KEY_TYPES, default="ec-p384", show_default=True)
@click.option("--lifetime", metavar="SPAN", default="3650d", show_default=True, help="Of the root.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--out",
    metavar="FOLDER",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="A new folder for what leaves: root.pem, a certificate for each CSR, root.crl, transcript.txt.",
)
@ca_options
def ceremony(
    opening: Opening,
    name: str,
    csrs: tuple[Path, ...],
    profile: str,
    witnesses: tuple[str, ...],
    key_type: Any,
    lifetime: str,
    yes: bool,
    out: Path,
) -> int:
    """Hold the ceremony of an offline root: root, intermediates and CRL in one run, with a transcript."""
    from certwatch import __version__
    from certwatch.ca.ceremony import Wish, hold, steps

    wish = Wish(
        name=name,
        key_type=key_type,
        lifetime=duration(lifetime),
        csrs=tuple((each.name, read_file(each)) for each in csrs),
        profile=profile,
        witnesses=witnesses,
        operator=person(),
        machine=(
            ("machine", platform.node()),
            ("program", f"certwatch {__version__}, Python {platform.python_version()}"),
        ),
    )
    if out.exists() and any(out.iterdir()):
        raise Failed(
            USAGE, f"{out}: is not empty. Name a new folder, so that nothing of another ceremony is mixed in"
        )
    with opening.authority(create=True) as authority:
        for number, line in enumerate(steps(authority, wish), 1):
            click.echo(f"{number}. {shown(line)}", err=True)
        if not yes:
            click.confirm("Hold this ceremony?", abort=True, err=True)
        held = hold(authority, wish, lambda line: click.echo(shown(line)))
    out.mkdir(parents=True, exist_ok=True)
    for file, data in held.files:
        write_out(out / file, data)
    say(f"{out}: {', '.join(file for file, _ in held.files)}")
    return OK
