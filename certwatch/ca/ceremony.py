"""The ceremony of an offline root: everything that is done with the root's key on a machine without a network, in one run and
in one transcript that the witnesses sign by hand. What the transcript says stands in the ledger too, under a checkpoint."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import approvals, crl, found
from certwatch.ca.approvals import Waiting
from certwatch.ca.authority import Authority
from certwatch.ca.certificate import Issuer
from certwatch.ca.failure import CAError
from certwatch.ca.profiles import profile_named
from certwatch.ca.request import load_csr, order_of, public_bytes
from certwatch.ca.signer import KeyType
from certwatch.model.instants import iso

MOST_CSRS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the ceremony is for, read and checked before the key is touched."""

    #: The root's.
    name: str
    key_type: KeyType = "ec-p384"
    lifetime: timedelta = found.ROOT_LIFETIME
    #: File name and content.
    csrs: tuple[tuple[str, bytes], ...] = ()
    profile: str = "intermediate"
    witnesses: tuple[str, ...] = ()
    operator: str = ""
    #: What this machine and program are, as the caller knows them.
    machine: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What came of it: files by name, the transcript among them."""

    files: tuple[tuple[str, bytes], ...]
    transcript: str


def steps(authority: Authority, wish: Wish) -> list[str]:
    """What `hold` will do, to be agreed to. Raises CAError: a CSR that would be refused is refused here."""
    planned = [
        f"use the root {wish.name}, which is there already"
        if _present(authority, wish.name) is not None
        else f"make the root {wish.name}: a key of kind {wish.key_type}, a certificate for {wish.lifetime.days} days"
    ]
    if len(wish.csrs) > MOST_CSRS:
        raise CAError("usage", f"{len(wish.csrs)} CSRs: at most {MOST_CSRS} in one ceremony")
    names = [name for name, _ in wish.csrs]
    if len(set(names)) != len(names):
        raise CAError("usage", "two CSRs have the same file name")
    for name, data in wish.csrs:
        csr = load_csr(data)
        order_of(
            csr,
            profile_named(authority.settings.profiles, wish.profile),
            requester=wish.operator,
            submitter=wish.operator,
        )
        planned.append(
            f"sign {name}: {csr.subject.rfc4514_string()}, key {_key_print(csr)}, by profile {wish.profile}"
        )
    planned.append(f"make the CRL of {wish.name}, for {authority.settings.crl_lifetime.days} days")
    return planned


def _present(authority: Authority, name: str) -> Issuer | None:
    return next((each for each in authority.issuers() if each.name == name), None)


def _key_print(holder: x509.Certificate | x509.CertificateSigningRequest) -> str:
    return hashlib.sha256(public_bytes(holder.public_key())).hexdigest()


class _Transcript:
    def __init__(self, authority: Authority, say: Callable[[str], None]) -> None:
        self._authority, self._say = authority, say
        self.lines: list[str] = []

    def add(self, line: str = "") -> None:
        self.lines.append(line)
        self._say(line)

    def step(self, what: str) -> None:
        self.add()
        self.add(f"{iso(self._authority.clock())}  {what}")

    def facts(self, *facts: tuple[str, str]) -> None:
        for name, value in facts:
            self.add(f"    {name}: {value}")


def hold(authority: Authority, wish: Wish, say: Callable[[str], None]) -> Held:
    """`say` is told each line as it is written. Raises CAError; what was done until then stands in the ledger."""
    steps(authority, wish)
    script = _Transcript(authority, say)
    files: list[tuple[str, bytes]] = []
    script.add(f"Key ceremony of {wish.name}")
    script.facts(
        ("begun", f"{iso(authority.clock())}"),
        ("operator", wish.operator),
        *(("witness", each) for each in wish.witnesses),
        *wish.machine,
        ("ledger's key", authority.ledger.verifier_key),
        ("entries before", str(authority.ledger.size)),
    )
    root = _root(authority, wish, script)
    root_pem = root.certificate.public_bytes(Encoding.PEM)
    files.append(("root.pem", root_pem))
    for name, data in wish.csrs:
        files.append((f"{Path(name).stem}.pem", _signed(authority, wish, root, name, data, script)))
    script.step("CRL of the root")
    crl_der = crl.make(authority, root, 0)
    made = x509.load_der_x509_crl(crl_der)
    files.append(("root.crl", crl_der))
    script.facts(
        ("number", str(made.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number)),
        ("next update", f"{iso(made.next_update_utc)}"),
    )
    script.step("Files that leave")
    script.facts(*((name, f"sha256 {hashlib.sha256(data).hexdigest()}") for name, data in files))
    _seal(authority, wish, script)
    transcript = "\n".join(script.lines) + "\n"
    return Held(files=(*files, ("transcript.txt", transcript.encode())), transcript=transcript)


def _root(authority: Authority, wish: Wish, script: _Transcript) -> Issuer:
    present = _present(authority, wish.name)
    if present is None:
        script.step("Root: key and certificate are made")
        founded = found.found_root(authority, wish.name, key_type=wish.key_type, lifetime=wish.lifetime)
        attested = founded.attested
        script.facts(
            ("key", founded.key),
            *(
                [("the token says", ", ".join(word for word, true in attested.items() if true))]
                if attested is not None
                else [("beware", "the key is in a file: a rehearsal, and no root to be trusted")]
            ),
        )
        present = _present(authority, wish.name)
        assert present is not None  # noqa: S101 - just made
    else:
        if present.kind != "root":
            raise CAError("usage", f"{wish.name}: is no root")
        script.step("Root: is there already")
        script.facts(("key", present.key))
    _describe(present.certificate, script)
    return present


def _describe(certificate: x509.Certificate, script: _Transcript) -> None:
    script.facts(
        ("subject", certificate.subject.rfc4514_string()),
        ("serial", f"{certificate.serial_number:x}"),
        ("valid", f"{iso(certificate.not_valid_before_utc)} to {iso(certificate.not_valid_after_utc)}"),
        ("sha256 of the public key", _key_print(certificate)),
        ("sha256", certificate.fingerprint(SHA256()).hex()),
    )


def _signed(
    authority: Authority, wish: Wish, root: Issuer, name: str, data: bytes, script: _Transcript
) -> bytes:
    script.step(f"CSR {name}")
    csr = load_csr(data)
    script.facts(
        ("sha256 of the file", hashlib.sha256(data).hexdigest()),
        ("subject", csr.subject.rfc4514_string()),
        ("sha256 of the public key", _key_print(csr)),
        ("proof of possession", "verified"),
    )
    order = order_of(
        csr,
        profile_named(authority.settings.profiles, wish.profile),
        requester=wish.operator,
        submitter=wish.operator,
        issuer=root.name,
    )
    answer = approvals.submit(authority, order)
    if isinstance(answer, Waiting):
        raise CAError(
            "waiting",
            f"{name}: profile {wish.profile} asks for approvals, which a ceremony gets by its witnesses. Set approvals: 0",
        )
    script.add("  certificate")
    _describe(answer.certificate, script)
    return answer.certificate.public_bytes(Encoding.PEM)


def _seal(authority: Authority, wish: Wish, script: _Transcript) -> None:
    """The ledger has the hash of all lines so far, and the transcript ends with the checkpoint over that entry."""
    digest = hashlib.sha256(("\n".join(script.lines) + "\n").encode()).hexdigest()
    with authority.act() as act:
        act.append(
            "ceremony",
            [
                {
                    "root": wish.name,
                    "witnesses": wish.witnesses,
                    "by": wish.operator,
                    "transcript_sha256": digest,
                }
            ],
        )
    [(note,)] = authority.rows("SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1")
    script.step("Ledger")
    script.facts(("sha256 of the lines above this step", digest))
    script.add()
    for line in note.rstrip("\n").split("\n"):
        script.add(line)
    script.add()
    for who in (f"operator {wish.operator}", *(f"witness {each}" for each in wish.witnesses)):
        script.add(f"Signed, {who}: ______________________________")
