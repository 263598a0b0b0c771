"""Founding issuers: a root that signs itself, intermediates whose CSR a root signs, here or on another machine."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca.approvals import submit
from certwatch.ca.authority import Authority
from certwatch.ca.certificate import Issuer, root_draft
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, rehearse, serial_bytes
from certwatch.ca.profiles import profile_named
from certwatch.ca.request import name_from, order_of
from certwatch.ca.signer import KeyType, hash_for

ROOT_LIFETIME = timedelta(days=10 * 365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    name: str
    key: str
    #: PEM. None: it waits for the root, see `csr`.
    certificate: bytes | None
    csr: bytes | None
    #: What the token says of the key. None: it is in a file.
    attested: dict[str, bool] | None


def _free_name(authority: Authority, name: str) -> None:
    if not name or len(name) > 64 or not name.isprintable():
        raise CAError("usage", "an issuer's name has 1 to 64 printable characters")
    if authority.rows("SELECT 1 FROM issuers WHERE name = ?", name):
        raise CAError("usage", f'an issuer is called "{name}" already. Give this one another name')


def key_place(authority: Authority, name: str, place: str | None) -> str:
    if place is None:
        place = authority.settings.key_place
    if place is None:
        raise CAError(
            "usage", "where is the key to be? Give --pkcs11 URI (a token) or --key-file FILE (for trials)"
        )
    path = Path(place.removeprefix("file:"))
    if place.startswith("file:") and path.exists():
        # The config's key file is the first issuer's; the next one's stands beside it.
        tag = hashlib.sha256(name.encode()).hexdigest()[:8]
        return f"file:{path.with_name(f'{path.stem}-{tag}{path.suffix}')}"
    return place


def found_root(
    authority: Authority,
    name: str,
    *,
    place: str | None = None,
    key_type: KeyType = "ec-p256",
    lifetime: timedelta = ROOT_LIFETIME,
    path_length: int | None = None,
) -> Founded:
    """Raises CAError."""
    with authority.turn:
        _free_name(authority, name)
        reference = authority.keys.create(key_place(authority, name, place), key_type, name)
        attested = authority.keys.attest(reference)
        public = authority.keys.open(reference).public_key()
        draft = root_draft(name_from((("CN", name),)), public, lifetime, path_length, authority.clock())
        rehearsed = rehearse(draft, public)
        lint = authority.lint.check(rehearsed.public_bytes(Encoding.DER))
        serial = serial_bytes(draft.serial)
        said = {"name": name, "root": True, "key": reference, "attested": attested, "lint": lint}
        with authority.act() as act:
            digest = hashlib.sha256(rehearsed.tbs_certificate_bytes).hexdigest()
            act.append("issuer-intent", [{**said, "serial": serial.hex(), "tbs_sha256": digest}])
        made = draft.builder.sign(authority.keys.open(reference), hash_for(public))  # type: ignore[arg-type]
        made.verify_directly_issued_by(made)
        der = made.public_bytes(Encoding.DER)
        with authority.act() as act:
            act.connection.execute(
                "INSERT INTO issuers (name, kind, key, certificate, created) VALUES (?, 'root', ?, ?, ?)",
                (name, reference, der, act.instant),
            )
            act.append("issuer", [_said(name, der, b"", root=True)])
    return Founded(
        name=name, key=reference, certificate=made.public_bytes(Encoding.PEM), csr=None, attested=attested
    )


def found_intermediate(
    authority: Authority,
    name: str,
    *,
    by: str,
    place: str | None = None,
    key_type: KeyType = "ec-p256",
    profile: str = "intermediate",
    environment: str = "",
) -> Founded:
    """Key and CSR; signed at once when the root is in this CA too. Raises CAError."""
    with authority.turn:
        _free_name(authority, name)
        reference = authority.keys.create(key_place(authority, name, place), key_type, name)
        attested = authority.keys.attest(reference)
        key = authority.keys.open(reference)
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(name_from((("CN", name),)))
            .sign(key, hash_for(key.public_key()))  # type: ignore[arg-type]
        )
        with authority.act() as act:
            act.connection.execute(
                "INSERT INTO issuers (name, kind, key, csr, created, environment) VALUES (?, 'intermediate', ?, ?, ?, ?)",
                (name, reference, csr.public_bytes(Encoding.DER), act.instant, environment),
            )
            act.append(
                "issuer-intent",
                [
                    {
                        "name": name,
                        "root": False,
                        "environment": environment,
                        "key": reference,
                        "attested": attested,
                    }
                ],
            )
        roots = [each for each in authority.issuers() if each.kind == "root"]
        made: bytes | None = None
        if roots:
            kind = profile_named(authority.settings.profiles, profile)
            order = order_of(csr, kind, requester=by, submitter=by, issuer=roots[-1].name)
            answer = submit(authority, order)
            # Else people must say yes first; what `ca approve` then writes is installed as one from elsewhere is.
            if isinstance(answer, Certified):
                made = answer.certificate.public_bytes(Encoding.PEM)
                install(authority, name, made)
    return Founded(
        name=name, key=reference, certificate=made, csr=csr.public_bytes(Encoding.PEM), attested=attested
    )


def _said(name: str, der: bytes, chain: bytes, *, root: bool) -> dict[str, object]:
    return {
        "name": name,
        "root": root,
        "sha256": hashlib.sha256(der).hexdigest(),
        "chain_sha256": hashlib.sha256(chain).hexdigest(),
    }


def install(authority: Authority, name: str, pem: bytes) -> Issuer:
    """Take the certificate that the root made for an intermediate's CSR; what stands after it in the file is above it.
    Raises CAError."""
    try:
        certificate, *above = x509.load_pem_x509_certificates(pem)
        usage = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise CAError(
            "refused", f"the certificate of {name}: cannot be read, or is no CA's: {error}"
        ) from error
    with authority.turn:
        rows = authority.rows("SELECT id, key, certificate FROM issuers WHERE name = ?", name)
        if not rows:
            raise CAError(
                "usage",
                f'no issuer is called "{name}". Make its key first: certwatch ca init --intermediate --name {name}',
            )
        [(id, reference, present)] = rows
        if present is not None:
            raise CAError("usage", f'the issuer "{name}" has its certificate already')
        if not usage.ca or certificate.public_key() != authority.keys.open(reference).public_key():
            raise CAError(
                "refused",
                f"the certificate of {name}: is no CA's, or of another key than the one that was made",
            )
        chain = b"".join(each.public_bytes(Encoding.PEM) for each in above if each.subject != each.issuer)
        der = certificate.public_bytes(Encoding.DER)
        with authority.act() as act:
            act.connection.execute(
                "UPDATE issuers SET certificate = ?, chain = ? WHERE id = ?", (der, chain, id)
            )
            act.append("issuer", [_said(name, der, chain, root=False)])
        return next(each for each in authority.issuers() if each.id == id)
