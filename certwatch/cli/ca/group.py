"""The verbs of `certwatch ca`."""

from pathlib import Path
from typing import Any

import click

from certwatch.cli.ca import acme, copies, hierarchy
from certwatch.cli.ca.opening import Opening, ca_options, person
from certwatch.cli.ca.showing import KEY_TYPES, issued, pem_of, read_file, say, write_out
from certwatch.cli.failure import FAILED, OK, USAGE, Failed
from certwatch.cli.instants import duration
from certwatch.cli.options import json_option
from certwatch.cli.shapes import write_json
from certwatch.cli.table import write_table
from certwatch.cli.text import shown


@click.group(name="ca")
def command() -> None:
    """The embedded CA: make, revoke and prove certificates."""


@command.command()
@click.option("--name", required=True, help="What the issuer is called: its common name.")
@click.option("--root", "kind", flag_value="root", help="A root, which signs itself (when neither is said).")
@click.option(
    "--intermediate",
    "kind",
    flag_value="intermediate",
    help="An intermediate: key and CSR, signed by the root of this folder if there is one.",
)
@click.option(
    "--certificate", type=click.Path(path_type=Path), help="What the root made of the intermediate's CSR."
)
@click.option(
    "--environment",
    metavar="NAME",
    help="Of an intermediate: which profiles it is for. Else those that name none.",
)
@click.option("--key-type", type=KEY_TYPES, default="ec-p256", show_default=True)
@click.option("--lifetime", metavar="SPAN", help="Of a root: 3650d.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificate or CSR, PEM. Else standard output.",
)
@ca_options
def init(
    opening: Opening,
    name: str,
    kind: str | None,
    certificate: Path | None,
    environment: str | None,
    key_type: Any,
    lifetime: str | None,
    out: Path | None,
) -> int:
    """Make an issuer: its key in a token (--pkcs11) or, for trials, in a file (--key-file)."""
    from certwatch.ca import found

    if certificate is not None and kind != "intermediate":
        raise Failed(USAGE, "--certificate goes with --intermediate")
    if environment is not None and (kind != "intermediate" or certificate is not None):
        raise Failed(USAGE, "--environment goes with --intermediate, when its key is made")
    if certificate is not None:
        pem = read_file(certificate).decode("ascii", "replace")
        installed = opening.ask("install", {"name": name, "certificate": pem})
        say(f"{name}: in use, until {installed['not_after']}")
        return OK
    with opening.authority(create=True) as authority:
        if kind == "intermediate":
            made = found.found_intermediate(
                authority, name, by=person(), key_type=key_type, environment=_environment(environment)
            )
        elif lifetime is not None:
            made = found.found_root(authority, name, key_type=key_type, lifetime=duration(lifetime))
        else:
            made = found.found_root(authority, name, key_type=key_type)
    if made.attested is None:
        say(f"{made.key}: the key is in a file, for trials: whoever reads it and its passphrase has the CA")
    else:
        say(f"{made.key}: in the token; {', '.join(word for word, true in made.attested.items() if true)}")
    if made.certificate is None:
        say(f"{name}: waits for its certificate. Have the root sign the CSR: certwatch ca sign CSR --profile intermediate --out FILE;"
            f" then: certwatch ca init --intermediate --name {name!r} --certificate FILE")  # fmt: skip
    write_out(out, made.certificate or made.csr or b"")
    return OK


@command.command()
@click.argument("csr", type=click.Path(path_type=Path))
@click.option("--profile", required=True, help="Kind of certificate.")
@click.option("--lifetime", metavar="SPAN", help="Else the profile's.")
@click.option("--requester", help="For whom. Else you.")
@click.option("--issuer", help="By which issuer. Else the newest intermediate.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificate and chain, PEM. Else standard output.",
)
@json_option
@ca_options
def sign(
    opening: Opening,
    csr: Path,
    profile: str,
    lifetime: str | None,
    requester: str | None,
    issuer: str | None,
    out: Path | None,
    as_json: bool,
) -> int:
    """Make a certificate of a CSR ("-": standard input). Exit status 1: it waits for approval."""
    return issued(
        opening.ask("sign", _wish(pem_of(read_file(csr)), profile, lifetime, requester, issuer)),
        out,
        as_json=as_json,
    )


def _environment(name: str | None) -> str:
    import re

    from certwatch.config.schema import NAME_PATTERN

    if name is not None and re.fullmatch(NAME_PATTERN, name) is None:
        raise Failed(
            USAGE,
            f"--environment {name!r}: a name has at most 63 letters, digits, dots, dashes and underscores",
        )
    return name or ""


def _wish(
    csr: str, profile: str, lifetime: str | None, requester: str | None, issuer: str | None
) -> dict[str, Any]:
    return {
        "csr": csr,
        "profile": profile,
        "lifetime_seconds": None if lifetime is None else int(duration(lifetime).total_seconds()),
        "requester": requester or person(),
        "submitter": person(),
        "issuer": issuer,
    }


@command.command()
@click.option("--name", "names", multiple=True, metavar="KIND:NAME", help="dns:…, ip:…, email:…, uri:…")
@click.option("--subject", help='Beside the names: "CN=Build,O=Example".')
@click.option("--profile", required=True, help="Kind of certificate.")
@click.option("--lifetime", metavar="SPAN", help="Else the profile's.")
@click.option("--requester", help="For whom. Else you.")
@click.option("--issuer", help="By which issuer. Else the newest intermediate.")
@click.option("--key-type", type=KEY_TYPES, default="ec-p256", show_default=True)
@click.option(
    "--out",
    metavar="FILE",
    required=True,
    type=click.Path(path_type=Path),
    help="Certificate and chain, PEM.",
)
@click.option(
    "--key-out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The key. Else FILE of --out with .key for its ending.",
)
@json_option
@ca_options
def issue(
    opening: Opening,
    names: tuple[str, ...],
    subject: str | None,
    profile: str,
    lifetime: str | None,
    requester: str | None,
    issuer: str | None,
    key_type: Any,
    out: Path,
    key_out: Path | None,
    as_json: bool,
) -> int:
    """Make a key and a certificate for it. The key is not encrypted, and nobody else can read it.

    Exit status 1: it waits for approval; the key is there.
    """
    from cryptography.hazmat.primitives import serialization

    from certwatch.ca.key_file import generate, write_new
    from certwatch.ca.new_request import make_csr

    key_out = key_out or out.with_suffix(".key")
    if key_out == out:
        raise Failed(USAGE, f"{out}: certificate and key would be one file. Name the key's with --key-out")
    key = generate(key_type)
    csr = make_csr(key, names, subject)
    opening.settings()  # what is wrong with the config is said before a key is written
    write_new(
        key_out,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )
    try:
        answer = opening.ask("sign", _wish(csr, profile, lifetime, requester, issuer))
    except BaseException:
        key_out.unlink(missing_ok=True)
        raise
    return issued(answer, out, as_json=as_json)


@command.command()
@click.argument("serial")
@click.option("--reason", default="unspecified", show_default=True)
@ca_options
def revoke(opening: Opening, serial: str, reason: str) -> int:
    """Revoke a certificate: it is in the ledger when this returns, and on a CRL that is made at once."""
    opening.ask("revoke", {"serial": serial, "reason": reason, "person": person()})
    say(f"serial {serial}: revoked ({reason})")
    return OK


@command.command()
@click.option("--requester", required=True, help="For whom.")
@click.option("--profile", required=True, help="Kind of certificate.")
@click.option(
    "--name", "names", multiple=True, metavar="KIND:NAME", help="What may be asked for: dns:…, ip:…"
)
@click.option("--lifetime", metavar="SPAN", default="1h", show_default=True)
@ca_options
def enrol(opening: Opening, requester: str, profile: str, names: tuple[str, ...], lifetime: str) -> int:
    """Print a one-time token, by which somebody without a certificate may ask for one over HTTP."""
    answer = opening.ask(
        "enrol",
        {
            "requester": requester,
            "profile": profile,
            "names": names,
            "lifetime_seconds": int(duration(lifetime).total_seconds()),
            "person": person(),
        },
    )
    click.echo(answer["token"])
    return OK


@command.command()
@click.argument("request", type=int)
@click.option("--refuse", is_flag=True, help="Say no.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Certificate and chain, PEM. Else standard output.",
)
@json_option
@ca_options
def approve(opening: Opening, request: int, refuse: bool, out: Path | None, as_json: bool) -> int:
    """Approve a request (or refuse it); the last approval that is needed makes the certificate."""
    answer = opening.ask("refuse" if refuse else "approve", {"request": request, "person": person()})
    if refuse:
        say(f"request {request}: refused")
        return OK
    return issued(answer, out, as_json=as_json)


@command.command()
@click.option("--issuer", help="Whose. Else the newest intermediate's.")
@click.option("--partition", type=int, default=0, show_default=True)
@click.option("--pem", is_flag=True, help="PEM instead of DER.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(path_type=Path))
@ca_options
def crl(opening: Opening, issuer: str | None, partition: int, pem: bool, out: Path) -> int:
    """Write the CRL, a new one if its time has come."""
    answer = opening.ask("crl", {"issuer": issuer, "partition": partition})
    der = bytes.fromhex(answer["crl"])
    if pem:
        from certwatch.ca.new_request import crl_pem

        der = crl_pem(der)
    write_out(out, der)
    return OK


@command.command(name="list")
@click.option("--waiting", is_flag=True, help="The requests that wait for approval.")
@json_option
@ca_options
def list_(opening: Opening, waiting: bool, as_json: bool) -> int:
    """List what the CA has made, or the requests that wait."""
    from certwatch.ca import listing

    settings, _ = opening.settings()
    rows = listing.waiting(settings.directory) if waiting else listing.certificates(settings.directory)
    if as_json:
        write_json({"requests" if waiting else "certificates": rows})
        return OK
    columns = (
        ("request", "at", "profile", "requester", "names", "approved_by", "needed")
        if waiting
        else ("serial", "state", "profile", "names", "requester", "issuer", "not_after")
    )
    write_table(
        columns, ([_cell(row[each]) for each in columns] for row in rows), spare=("requester", "issuer")
    )
    return OK


def _cell(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


@command.group()
def audit() -> None:
    """The ledger."""


@audit.command()
@json_option
@ca_options
def verify(opening: Opening, as_json: bool) -> int:
    """Recompute the whole ledger and hold every row against it. Exit status 3: something was changed or removed."""
    from certwatch.ca import audit as auditing

    settings, _ = opening.settings()
    found = auditing.verify(settings.directory)
    if as_json:
        write_json(
            {
                "entries": found.entries,
                "root_sha256": found.root.hex(),
                "checkpoints": found.checkpoints,
                "certificates": found.certificates,
                "wrong": found.wrong,
            }
        )
    else:
        for each in found.wrong:
            click.echo(shown(each))
        if not found.wrong:
            click.echo(
                f"{found.entries} entries, {found.checkpoints} checkpoints, {found.certificates} certificates: the ledger is whole"
            )
    return FAILED if found.wrong else OK


command.add_command(acme.binding)
command.add_command(acme.renew_now)
for each in (hierarchy.rotate, hierarchy.cross_sign, hierarchy.ceremony, copies.backup, copies.restore):
    command.add_command(each)
