"""certbot's folder: `renewal/NAME.conf` with the settings, `live/NAME/fullchain.pem` (certbot/certbot, storage.py)."""

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

NEEDED = "Name certbot's --config-dir (/etc/letsencrypt) in `path`"
_ASSIGNED = re.compile(r"\s*([A-Za-z0-9_]+)\s*=\s*(.*)")
_SECTION = re.compile(r"\s*(\[+)\s*([^\]]*?)\s*\]+")
_DAYS = re.compile(r"(\d{1,4}) days?")
#: What runs after a renewal, so that servers take the new one.
_HOOKS = ("deploy_hook", "renew_hook", "post_hook")


def read_certbot(path: str) -> Iterator[Lineage]:
    """Raises ReadFailed."""
    settings = [each.name for each in listed(os.path.join(path, "renewal"), NEEDED)]
    names = {each.removesuffix(".conf") for each in settings if each.endswith(".conf")}
    for name in sorted(names):
        try:
            said = parse(read_text(os.path.join(path, "renewal", f"{name}.conf")))
        except FileNotFoundError:
            continue  # it was deleted just now
        except Unreadable as error:
            yield Lineage(name=name, chain=(), problem=error.error)
            continue
        # The folder may be looked at from elsewhere than where certbot has it.
        places = (os.path.join(path, "live", name, "fullchain.pem"), said.get("fullchain", ""))
        yield lineage(name, tuple(each for each in places if each), facts_of(said))
    if os.path.isdir(os.path.join(path, "live")):
        for entry in listed(os.path.join(path, "live"), NEEDED):
            if entry.name not in names and is_folder(entry):
                # certbot renews nothing that it has no settings for.
                chain = os.path.join(path, "live", entry.name, "fullchain.pem")
                if os.path.exists(chain):
                    yield lineage(entry.name, (chain,), {"renewal_off": True})


def parse(text: str) -> Mapping[str, str]:
    """Keys of the head, and of [renewalparams] with "params." in front."""
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        heading = _SECTION.fullmatch(line)
        if heading is not None:
            section = "params." if heading.groups() == ("[", "renewalparams") else "-"
            continue
        assigned = _ASSIGNED.fullmatch(line)
        if assigned is not None and section != "-":
            found[section + assigned[1]] = assigned[2].strip().strip("\"'")
    return found


def facts_of(said: Mapping[str, str]) -> dict[str, Fact]:
    facts: dict[str, Fact] = {}
    if said.get("params.autorenew", "").lower() in ("false", "no", "0", "off"):
        facts["renewal_off"] = True
    days = _DAYS.fullmatch(said.get("renew_before_expiry", ""))
    if days is not None:
        facts["renewal_days_before"] = int(days[1])
    if said.get("params.server"):
        facts["renewal_server"] = kept(said["params.server"])
    by_hook = any(said.get(f"params.{each}", "None") not in ("None", "") for each in _HOOKS)
    facts["renewal_hook"] = by_hook or said.get("params.installer", "None") not in ("None", "")
    return facts
