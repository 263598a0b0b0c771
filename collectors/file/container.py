"""A container's entries to what is told of each: a place of its own for each key, one for all that is trusted."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from certwatch.model.observation import ErrorKind, Fact, LookError
from certwatch.x509 import inline, pkcs12, private_keys
from certwatch.x509.containers import Container, Entry, Problem
from certwatch.x509.pbe import Work
from collectors.file import crls
from collectors.file.contents import Contents, failed, one_line

#: Endings of files that hold several places: that one cannot be read is told, whatever found it.
SUFFIXES = (".p12", ".pfx", ".jks", ".jceks", ".keystore", ".truststore", ".ovpn", ".kubeconfig")
#: Of these, the endings that hold nothing but keystores.
STORE_SUFFIXES = (".p12", ".pfx", ".jks", ".jceks")
#: Endings of other containers.
PLAIN_SUFFIXES = (".p7b", ".p7c", ".spc", ".crl")

#: Files that one file may name.
MAX_REFERENCES = 1000

#: Reads a file named by another; raises OSError or ValueError (a name that no file has).
Load = Callable[[str], bytes]

_WHAT_TO_DO: dict[ErrorKind, str] = {
    "passphrase": "Give its passphrase to the collector, or exclude it",
    "malformed": "Check what wrote it, or exclude it",
    "other": "Write it anew with what its program does by default, or exclude it",
}
_KEY_FACTS: dict[private_keys.Match | None, dict[str, Fact]] = {
    "match": {"key_match": True},
    "mismatch": {"key_match": False},
    "encrypted": {"key_encrypted": True},
}


def contents(
    path: str, found: Container, passphrases: Sequence[str], load: Load, *, bare: bool = False
) -> list[Contents]:
    """Each entry by itself. What could not be read is told at the file's own place. `bare`: there are certificates in
    the file beside the container."""
    parts: list[Contents] = []
    references = 0
    # One purse for all the keys that one file names.
    work = Work()
    for entry in found.entries:
        if entry.path is None and entry.key_path is None:
            parts.append(_part(found, entry))
            continue
        references += 1
        if references > MAX_REFERENCES:
            parts.append(failed("malformed", f"{path}: names more than {MAX_REFERENCES} files. Exclude it"))
            break
        parts += _referenced(path, found, entry, passphrases, load, work)
    # Bare certificates beside them are the caller's to see.
    parts += crls.contents(path, found.crls, alone=not (parts or bare), container=found.format)
    error = _error(path, found.problems)
    if error is not None:
        own = next((at for at, part in enumerate(parts) if not part.entry), None)
        if own is None:
            parts.insert(0, Contents(facts={"container": found.format}, error=error))
        else:
            parts[own] = replace(parts[own], error=parts[own].error or error)
    return parts


def may_have_entries(path: str, held: Iterable[Contents]) -> bool:
    """Whether there could be more places in a file than the file itself: by what was seen, or else by its name."""
    return path.lower().endswith(SUFFIXES) or any(each.entry or "container" in each.facts for each in held)


def _part(
    found: Container, entry: Entry, *, error: LookError | None = None, beside: tuple[str, ...] = ()
) -> Contents:
    facts: dict[str, Fact] = {"arrangement": entry.arrangement, "container": found.format}
    return Contents(
        entry=entry.name,
        chain=entry.certificates,
        facts=facts | _KEY_FACTS.get(entry.key, {}),
        error=error,
        beside=beside,
    )


def _error(path: str, problems: Sequence[Problem]) -> LookError | None:
    if not problems:
        return None
    # What a passphrase would mend comes first: the rest may be its consequence.
    kinds = [problem.kind for problem in problems]
    kind: ErrorKind = next((each for each in ("passphrase", "malformed") if each in kinds), "other")
    shown = "; ".join(problem.message for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return LookError(kind=kind, message=one_line(f"{path}: {shown}{more}. {_WHAT_TO_DO[kind]}"))


def _referenced(
    path: str, found: Container, entry: Entry, passphrases: Sequence[str], load: Load, work: Work
) -> Iterable[Contents]:
    """Certificates that the container names by a path, relative to its own folder, as kubectl and OpenVPN have it."""
    folder = os.path.dirname(path)
    key_path = os.path.join(folder, entry.key_path) if entry.key_path else None
    certificate_path = os.path.join(folder, entry.path) if entry.path else None
    beside = tuple(each for each in (certificate_path, key_path) if each is not None and "\0" not in each)
    if certificate_path is not None:
        try:
            data = load(certificate_path)
        except FileNotFoundError:
            message = f'{path}: "{entry.name}" names {certificate_path}: no such file. Mend one of them'
            return [failed("not-found", message, entry=entry.name, beside=beside)]
        except (OSError, ValueError) as error:
            kind: ErrorKind = "permission" if isinstance(error, PermissionError) else "other"
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "no file to read"
            message = f'{path}: "{entry.name}" names {certificate_path}: {reason}. Mend one of them'
            return [failed(kind, message, entry=entry.name, beside=beside)]
        if found.format == "openvpn" and pkcs12.looks_like(data):
            return _store(path, found, entry, data, passphrases, beside)
        read = inline.read(data)
        entry = replace(entry, certificates=read.certificates)
        if not entry.certificates:
            message = (
                f'{path}: "{entry.name}" names {certificate_path}: no certificate in it. Mend one of them'
            )
            return [failed("no-certificate", message, entry=entry.name, beside=beside)]
    if key_path is not None and entry.certificates:
        entry = replace(entry, key=_key(key_path, entry.certificates[0], passphrases, load, work))
    return [_part(found, entry, beside=beside)]


def _store(
    path: str,
    found: Container,
    entry: Entry,
    data: bytes,
    passphrases: Sequence[str],
    beside: tuple[str, ...],
) -> list[Contents]:
    """A keystore that is named: its entries below the one that names it."""
    store = pkcs12.read(data, passphrases)
    error = _error(f'{path}: "{entry.name}"', store.problems)
    parts = [
        _part(found, replace(each, name=f"{entry.name}/{each.name}".removesuffix("/")), beside=beside)
        for each in store.entries
    ]
    return parts if error is None else [*parts, Contents(entry=entry.name, error=error, beside=beside)]


def _key(
    path: str, leaf: bytes, passphrases: Sequence[str], load: Load, work: Work
) -> private_keys.Match | None:
    try:
        return inline.key_match(load(path), leaf, passphrases, work)
    except (OSError, ValueError):
        return None
