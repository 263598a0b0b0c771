"""One road for every container of certificates: what it is by its contents, never by its name."""

from collections.abc import Sequence
from dataclasses import replace

from certwatch.x509 import crl, jks, kubeconfig, openvpn, pem, pkcs7, pkcs12
from certwatch.x509.containers import Container, Entry, Problem, malformed, unique
from certwatch.x509.pbe import Work

_CRL_LABEL = "X509 CRL"
_CRL_BEGIN = f"-----BEGIN {_CRL_LABEL}-----".encode()
#: So much of a file is looked at to tell what it begins with.
_HEAD = 4096
_PEM_BEGINNINGS = tuple(
    f"-----BEGIN {label}-----".encode() for label in (_CRL_LABEL, *sorted(pkcs7.PEM_LABELS))
)


def read(data: bytes, passphrases: Sequence[str] = (), work: Work | None = None) -> Container | None:
    """Never raises. None: none of the containers; it may still be certificates in PEM or DER (`pem`, `der`).
    `passphrases` are tried in order, then none. Cost is bounded: see each format; with `work` by what is left of it."""
    if jks.looks_like(data):
        return jks.read(data, passphrases, work)
    if data[:1] == b"\x30":
        if pkcs12.looks_like(data):
            return pkcs12.read(data, passphrases, work)
        if pkcs7.looks_like(data):
            return pkcs7.read(data)
        return Container(format="crl", crls=(data,)) if crl.looks_like(data) else None
    # A list of a million entries is not searched for everything else that it could be.
    if data[:1] == b"-" and begins_as_crl(data[:_HEAD]):
        return _pem(data)
    # Before PEM, which these carry inside them.
    if openvpn.looks_like(data):
        return openvpn.read(data, passphrases, work)
    if kubeconfig.looks_like(data):
        return kubeconfig.read(data, passphrases, work)
    if any(beginning in data for beginning in _PEM_BEGINNINGS):
        found = _pem(data)
        if found is not None:
            return found
    return pkcs7.read_mail(data) if pkcs7.looks_like_mail(data) else None


def begins_as_crl(head: bytes) -> bool:
    """Does a file with this beginning (4 KiB are enough) hold a list, in DER or PEM?"""
    return crl.begins(head) if head[:1] == b"\x30" else head.lstrip().startswith(_CRL_BEGIN)


def _pem(data: bytes) -> Container | None:
    """PKCS#7 and CRLs among a file's blocks. Its bare certificates stay with whoever reads PEM: what comes out of
    PKCS#7 is then an entry "pkcs7"."""
    entries: list[Entry] = []
    crls: list[bytes] = []
    problems: list[Problem] = []
    seen, bare = False, False
    for block in pem.blocks(data):
        bare = bare or block.is_certificate
        if block.label not in pkcs7.PEM_LABELS and block.label != _CRL_LABEL:
            continue
        seen = True
        if block.problem is not None:
            problems.append(malformed(block.problem))
        elif block.label == _CRL_LABEL:
            crls.append(block.data)
        else:
            inside = pkcs7.read(block.data)
            entries += inside.entries
            crls += inside.crls
            problems += inside.problems
    if not seen:
        return None
    if bare:
        entries = [replace(each, name="pkcs7") for each in entries]
    return Container(
        format="pkcs7" if entries else "crl",
        entries=unique(entries),
        crls=tuple(crls),
        problems=tuple(problems),
    )
