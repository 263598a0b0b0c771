"""Caddy's storage, and that of whatever else uses certmagic: `certificates/ISSUER/DOMAIN/DOMAIN.crt`, with `DOMAIN.json`
beside it (caddyserver/certmagic, storage.go and certificates.go)."""

import os
from collections.abc import Iterator

import msgspec

from certwatch.model.instants import read_instant
from certwatch.model.observation import Fact
from collectors.ca_database.acme.lineage import (
    Lineage,
    Unreadable,
    is_folder,
    kept,
    lineage,
    listed,
    read_bytes,
)
from collectors.ca_database.record import rfc3339

NEEDED = "Name Caddy's data folder (/var/lib/caddy/.local/share/caddy) in `path`"


class _RenewalInfo(msgspec.Struct):
    """ARI (RFC 9773), and when within the window the client has chosen to renew."""

    selected: str = msgspec.field(default="", name="_selectedTime")


class _IssuerData(msgspec.Struct):
    ca: str = ""
    renewal_info: _RenewalInfo | None = None


class _Resource(msgspec.Struct):
    # What an issuer other than ACME writes is its own.
    issuer_data: msgspec.Raw = msgspec.Raw(b"null")


def read_caddy(path: str) -> Iterator[Lineage]:
    """Raises ReadFailed."""
    inside = os.path.join(path, "certificates")
    root = inside if os.path.isdir(inside) else path
    for issuer in listed(root, NEEDED):
        if not is_folder(issuer):
            continue
        for site in listed(issuer.path, NEEDED):
            if is_folder(site) and os.path.exists(os.path.join(site.path, f"{site.name}.json")):
                name = f"{issuer.name}/{site.name}"
                chain = os.path.join(site.path, f"{site.name}.crt")
                try:
                    facts = facts_of(read_bytes(os.path.join(site.path, f"{site.name}.json")))
                except (FileNotFoundError, Unreadable):
                    facts = {}
                yield lineage(name, (chain,), facts)


def facts_of(resource: bytes) -> dict[str, Fact]:
    """Never raises: what is not as expected says nothing."""
    try:
        raw = msgspec.json.decode(resource, type=_Resource).issuer_data
        said = msgspec.json.decode(raw, type=_IssuerData | None) or _IssuerData()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}
    facts: dict[str, Fact] = {}
    if said.ca:
        facts["renewal_server"] = kept(said.ca)
    due = read_instant(said.renewal_info.selected) if said.renewal_info is not None else None
    if due is not None and due.year > 1:
        facts["renewal_due_at"] = rfc3339(due)
    return facts
