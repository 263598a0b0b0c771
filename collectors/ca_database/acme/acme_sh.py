"""acme.sh's folder: a folder a domain, with `DOMAIN.conf` and `fullchain.cer` (acmesh-official/acme.sh)."""

import os
import re
from collections.abc import Iterator, Mapping

from certwatch.model.observation import Fact
from collectors.ca_database.acme.lineage import (
    Lineage,
    Unreadable,
    is_folder,
    kept,
    lineage,
    listed,
    read_text,
)
from collectors.ca_database.record import of_epoch, rfc3339

NEEDED = "Name acme.sh's --cert-home (~/.acme.sh) in `path`"
_ASSIGNED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)='(.*)'\s*")
#: What `acme.sh --remove` leaves: the certificate stays, nobody renews it.
_REMOVED = ".conf.removed"


def read_acme_sh(path: str) -> Iterator[Lineage]:
    """Raises ReadFailed."""
    for entry in listed(path, NEEDED):
        if not is_folder(entry):
            continue
        # Certificates with EC keys lie in a folder of their own, their files without the ending.
        domain = entry.name.removesuffix("_ecc")
        folder = os.path.join(path, entry.name)
        settings = os.path.join(folder, f"{domain}.conf")
        removed = os.path.exists(os.path.join(folder, domain + _REMOVED))
        if not (removed or os.path.exists(settings)):
            continue
        facts: dict[str, Fact] = {}
        try:
            facts = facts_of(parse(read_text(settings)))
        except FileNotFoundError:
            facts["renewal_off"] = True
        except Unreadable as error:
            yield Lineage(name=entry.name, chain=(), problem=error.error)
            continue
        yield lineage(
            entry.name,
            (os.path.join(folder, "fullchain.cer"), os.path.join(folder, f"{domain}.cer")),
            facts,
        )


def parse(text: str) -> Mapping[str, str]:
    matches = (_ASSIGNED.fullmatch(line) for line in text.splitlines())
    return {each[1]: each[2] for each in matches if each is not None}


def facts_of(said: Mapping[str, str]) -> dict[str, Fact]:
    facts: dict[str, Fact] = {"renewal_hook": bool(said.get("Le_ReloadCmd"))}
    seconds = said.get("Le_NextRenewTime", "")
    due = of_epoch(int(seconds)) if seconds.isascii() and seconds.isdigit() and len(seconds) < 12 else None
    if due is not None:
        facts["renewal_due_at"] = rfc3339(due)
    if said.get("Le_API"):
        facts["renewal_server"] = kept(said["Le_API"])
    return facts
