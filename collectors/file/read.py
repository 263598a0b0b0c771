"""One file's bytes to what is in it: certificates in PEM and DER, and containers."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace

from certwatch.model.observation import Fact, LookError
from certwatch.x509 import der, inline, keystores, pem, private_keys
from certwatch.x509.arrangement import arrangement as arrangement_of
from certwatch.x509.containers import Container
from certwatch.x509.pbe import Work
from collectors.file import container
from collectors.file.contents import Contents, failed, one_line
from collectors.file.plain import read_plain

#: Files with these endings hold certificates by their name: that one cannot be read is then told, not passed over.
SUFFIXES = (".pem", ".crt", ".cer", ".cert", ".der", *container.SUFFIXES, *container.PLAIN_SUFFIXES)
#: Of these, the endings that hold nothing but certificates.
_CERTIFICATE_SUFFIXES = (".crt", ".cer", ".cert")


class NotARegularFile(OSError):
    """A device, a pipe or a socket: opening it could wait for ever, reading it has no end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    #: Of a file.
    bytes: int
    #: Of a file that begins with a revocation list.
    crl_bytes: int


def load(path: str, max_bytes: int, max_crl_bytes: int = 0) -> bytes:
    """Raises OSError; of more than `max_bytes` it reads one byte more, so that the caller sees that there is more.
    `max_crl_bytes`: the limit of what begins with a revocation list, if that is more."""
    # O_NONBLOCK: a pipe without a writer would hold the open for ever.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise NotARegularFile(f"{path}: not a regular file")
        parts = []
        left = max_bytes + 1
        if max_crl_bytes > max_bytes and status.st_size > max_bytes:
            if keystores.begins_as_crl(os.pread(fd, 4096, 0)):
                left = max_crl_bytes + 1
                # In one piece, since it may be large; what is missing comes below.
                parts.append(os.read(fd, min(left, status.st_size)))
                left -= len(parts[0])
        while left and (part := os.read(fd, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(fd)


def contents(
    path: str, limits: Limits, *, named: bool, passphrases: Sequence[str] = ()
) -> tuple[Contents, ...]:
    """What a file holds, place by place. Empty: nothing that concerns certificates. `named`: it was configured by its
    very name. `passphrases` are for what is encrypted in it."""
    expected = named or path.lower().endswith(SUFFIXES)
    try:
        data = load(path, limits.bytes, limits.crl_bytes)
    except FileNotFoundError:
        if not named and not os.path.islink(path):
            return ()  # gone between listing and opening
        hint = "its target is gone" if os.path.islink(path) else "no such file"
        return (failed("not-found", f"{path}: {hint}. Mend the path, or remove it from the config"),)
    except PermissionError:
        if not expected:
            return ()
        return (
            failed(
                "permission", f"{path}: may not be read by this user. Grant read permission, or exclude it"
            ),
        )
    except NotARegularFile:
        return (failed("other", f"{path}: not a regular file. Name a file"),) if named else ()
    except OSError as error:
        return (failed("other", f"{path}: {error.strerror}"),) if expected else ()
    if len(data) > limits.bytes:
        is_crl = keystores.begins_as_crl(data[:4096])
        if not is_crl or len(data) > limits.crl_bytes:
            key, limit = ("max_crl_bytes", limits.crl_bytes) if is_crl else ("max_bytes", limits.bytes)
            if not expected and not is_crl:
                return ()
            return (failed("malformed", f"{path}: larger than {limit} bytes. Raise {key}, or exclude it"),)
    holder = keystores.read(data, passphrases)
    found = tuple(each for each in _parts(path, data, holder, limits.bytes, passphrases) if each)
    if found or not expected:
        return found
    if holder is None and path.lower().endswith(container.STORE_SUFFIXES):
        what = "empty" if not data else "no keystore of a kind that is known"
        return (failed("malformed", f"{path}: {what}. Check what wrote it, or exclude it"),)
    if named or path.lower().endswith(_CERTIFICATE_SUFFIXES):
        nothing = _nothing_found(path, data)
        return (nothing,) if nothing else ()
    return ()


def fetched(url: str, data: bytes, passphrases: Sequence[str] = ()) -> tuple[Contents, ...]:
    """What was fetched from a URL holds, place by place; at least one. Files beside it, or named in it, are not looked
    for: there are none."""
    holder = keystores.read(data, passphrases)
    if holder is None:
        found = [_parse(url, data, passphrases, beside=False)]
    else:
        bare = None
        if holder.format in ("pkcs7", "crl") and b"CERTIFICATE-----" in data:
            bare = _parse(url, data, passphrases, beside=False)
        parts = container.contents(url, holder, passphrases, _nowhere, bare=bool(bare))
        found = _merged(bare, parts) if bare else parts
    held = tuple(each for each in found if each)
    return held or (failed("no-certificate", f"{url}: no certificate in it. Check what it answers"),)


def _nowhere(named: str) -> bytes:
    raise ValueError(f"{named}: files beside a URL are not fetched")


def _parts(
    path: str, data: bytes, holder: Container | None, max_bytes: int, passphrases: Sequence[str]
) -> list[Contents]:
    if holder is None:
        return [_parse(path, data, passphrases)]

    def whole(named: str) -> bytes:
        found = load(named, max_bytes)
        if len(found) > max_bytes:
            raise ValueError(f"{named}: larger than {max_bytes} bytes")
        return found

    bare = None
    if holder.format in ("pkcs7", "crl") and b"CERTIFICATE-----" in data:
        bare = _parse(path, data, passphrases)
    parts = container.contents(path, holder, passphrases, whole, bare=bool(bare))
    if holder.format == "pkcs7":
        # A chain whose key is beside it as beside PEM.
        parts = [_with_key_beside(path, each, passphrases) for each in parts]
    return _merged(bare, parts) if bare else parts


def _merged(bare: Contents, parts: list[Contents]) -> list[Contents]:
    """Bare certificates are the file's own; what the container has to say of the file itself goes with them."""
    own = next((each for each in parts if not each.entry), None)
    if own is None:
        return [bare, *parts]
    return [replace(bare, error=bare.error or own.error), *(each for each in parts if each is not own)]


def _with_key_beside(path: str, part: Contents, passphrases: Sequence[str]) -> Contents:
    if part.entry or not part.chain or part.facts.get("arrangement") != "chain":
        return part
    beside = _key_files(path)
    facts = _key_facts(part.chain[0], _keys_beside(beside), passphrases)
    return replace(part, facts={**part.facts, **facts}, beside=beside)


def _nothing_found(path: str, data: bytes) -> Contents:
    if not data:
        return failed("no-certificate", f"{path}: empty. Put a certificate in it, or exclude it")
    if any(block.problem is None for block in pem.blocks(data)):
        return Contents()  # keys, CRLs, parameters under a certificate's name
    return failed("no-certificate", f"{path}: no certificate in it. Check what wrote it, or exclude it")


def _parse(path: str, data: bytes, passphrases: Sequence[str], *, beside: bool = True) -> Contents:
    """`beside`: a key may lie in a file of its own."""
    found = read_plain(data)
    if not found.chain and not found.problems:
        return Contents()
    error = None
    if found.problems:
        error = LookError(kind="malformed", message=one_line(f"{path}: {found.told()}"))
    certificates = [der.read(each) for each in found.chain]
    facts: dict[str, Fact] = {}
    key_files: tuple[str, ...] = ()
    if found.chain:
        arrangement = arrangement_of(certificates)
        facts["arrangement"] = arrangement
        if arrangement == "chain":
            key_files = _key_files(path) if beside and not found.keys else ()
            facts |= _key_facts(found.chain[0], found.keys or _keys_beside(key_files), passphrases)
    return Contents(chain=tuple(found.chain), facts=facts, error=error, beside=key_files)


def _key_files(path: str) -> tuple[str, ...]:
    """Where the key of a certificate file stands by the usual conventions."""
    folder, name = os.path.split(path)
    stem, _ = os.path.splitext(name)
    candidates = [
        os.path.join(folder, f"{stem}.key"),
        os.path.join(os.path.dirname(folder), "private", f"{stem}.key"),
    ]
    if stem in ("fullchain", "cert", "chain"):
        candidates.insert(0, os.path.join(folder, "privkey.pem"))
    if name in ("tls.crt", "server.crt", "client.crt"):
        candidates.insert(0, os.path.join(folder, name.replace(".crt", ".key")))
    return tuple(dict.fromkeys(each for each in candidates if each != path))


def _keys_beside(candidates: tuple[str, ...]) -> list[bytes]:
    for candidate in candidates:
        try:
            data = load(candidate, 1 << 16)
        except OSError:
            continue
        keys = [block.pem for block in pem.blocks(data) if block.is_private_key]
        if keys:
            return keys
        if data[:1] == b"\x30":
            return [data]
    return []


def _key_facts(leaf: bytes, keys: Sequence[bytes], passphrases: Sequence[str]) -> dict[str, Fact]:
    spki = der.read(leaf).spki_sha256
    work = Work()
    verdicts = [
        inline.key_match(key, leaf, passphrases, work)
        if key.startswith(b"-----")
        else private_keys.match(key, spki)
        for key in keys
    ]
    if "match" in verdicts:
        return {"key_match": True}
    if "encrypted" in verdicts:
        return {"key_encrypted": True}
    return {"key_match": False} if "mismatch" in verdicts else {}
