"""OpenVPN profiles (`.ovpn`, `.conf`): authority, certificate and key, inline between tags or by a path."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace

from certwatch.x509 import inline, pkcs12
from certwatch.x509.containers import Container, Entry, Problem, malformed, unique
from certwatch.x509.pbe import Work

_TAGS = frozenset({"ca", "cert", "key", "extra-certs", "pkcs12", "crl-verify"})
_INLINE = re.compile(rb"^[ \t]*<(?:ca|cert|pkcs12|extra-certs)>[ \t]*\r?$", re.MULTILINE)
_SIGNS = (b"<ca>", b"<cert>", b"<pkcs12>", b"<extra-certs>")
_OPTION = re.compile(rb"^[ \t]*(?:ca|cert|pkcs12)[ \t]+\S", re.MULTILINE)
#: Hardly a profile is without one of these, and hardly another file has them beside the above.
_PROFILE = re.compile(rb"^[ \t]*(?:dev +(?:tun|tap)|remote +\S)", re.MULTILINE)
_OPENING = re.compile(r"\s*<([a-z0-9-]{1,40})>\s*")
_NAMED = re.compile(r"\s*(ca|cert|key|pkcs12)\s+(\"[^\"]*\"|'[^']*'|\S+)")


def looks_like(data: bytes) -> bool:
    # Plain searches first: every PEM file comes by here.
    if any(tag in data for tag in _SIGNS) and _INLINE.search(data) is not None:
        return True
    named = b"remote " in data or b"dev " in data
    return named and _PROFILE.search(data) is not None and _OPTION.search(data) is not None


def read(data: bytes, passphrases: Sequence[str] = (), work: Work | None = None) -> Container:
    """Never raises. Entries are "ca" (a bundle) and "cert" (a chain, with `extra-certs` behind it); those of an inline
    PKCS#12 are "pkcs12/NAME"."""
    work = work or Work()
    problems: list[Problem] = []
    blocks, paths = _split(data.decode("utf-8", "replace"), problems)
    entries = []
    read = {
        tag: inline.read(text.encode())
        for tag, text in blocks.items()
        if tag in ("ca", "cert", "extra-certs", "crl-verify")
    }
    for tag, found in read.items():
        problems += [malformed(f"<{tag}>: {each}") for each in found.problems]
        if not (found.certificates or found.crls or found.problems):
            problems.append(malformed(f"<{tag}>: no certificate in it"))
    authorities = read["ca"].certificates if "ca" in read else ()
    if authorities or ("ca" in paths and "ca" not in blocks):
        entries.append(
            Entry(
                name="ca",
                certificates=authorities,
                arrangement="bundle",
                path=None if authorities else paths["ca"],
            )
        )
    own = read["cert"].certificates if "cert" in read else ()
    if own or ("cert" in paths and "cert" not in blocks):
        extra = read["extra-certs"].certificates if "extra-certs" in read else ()
        key = (
            inline.key_match(blocks["key"].encode(), own[0], passphrases, work)
            if own and "key" in blocks
            else None
        )
        entries.append(
            Entry(
                name="cert",
                certificates=(*own, *extra) if own else (),
                key=key,
                path=None if own else paths["cert"],
                key_path=None if "key" in blocks else paths.get("key"),
            )
        )
    if "pkcs12" in blocks:
        entries += _keystore(blocks["pkcs12"], passphrases, work, problems)
    elif "pkcs12" in paths:
        entries.append(Entry(name="pkcs12", path=paths["pkcs12"]))
    return Container(
        format="openvpn",
        entries=unique(entries),
        crls=read["crl-verify"].crls if "crl-verify" in read else (),
        problems=tuple(problems),
    )


def _split(text: str, problems: list[Problem]) -> tuple[dict[str, str], dict[str, str]]:
    """Inline blocks by tag, paths by option; of several the last, as OpenVPN has it."""
    blocks: dict[str, str] = {}
    paths: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        opening = _OPENING.fullmatch(line)
        if opening is None:
            named = _NAMED.match(line)
            if named is not None and named.group(2) != "[inline]":
                paths[named.group(1)] = named.group(2).strip("\"'")
            continue
        tag = opening.group(1)
        if tag == "connection":
            continue  # holds options, not a file
        inside = []
        for each in lines:
            if each.strip() == f"</{tag}>":
                break
            inside.append(each)
        else:
            if tag in _TAGS:
                problems.append(malformed(f"<{tag}> has no end"))
        if tag in _TAGS:
            blocks[tag] = "\n".join(inside) + "\n"
    return blocks, paths


def _keystore(text: str, passphrases: Sequence[str], work: Work, problems: list[Problem]) -> list[Entry]:
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        problems.append(malformed("<pkcs12> is not base64"))
        return []
    store = pkcs12.read(data, passphrases, work)
    problems += [replace(each, message=f"<pkcs12>: {each.message}") for each in store.problems]
    return [replace(each, name=f"pkcs12/{each.name}".removesuffix("/")) for each in store.entries]
