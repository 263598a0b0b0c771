"""Does a client accept this chain? The path that holds, or the reason and the certificate at fault."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.model.certificate import Certificate
from certwatch.pki import crl_check, faults, openssl, strict, webpki
from certwatch.pki.candidates import candidate_paths
from certwatch.pki.faults import FaultKind
from certwatch.pki.hostnames import covers
from certwatch.pki.openssl import Purpose, Refusal
from certwatch.pki.policies import PolicyDemand, policy_fault
from certwatch.pki.trust import TrustStore
from certwatch.x509.der import read

#: CRL signers whose own certificates are revoked by CRLs of other signers …: so many deep.
_SIGNERS_DEEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: FaultKind
    #: The one at fault. None: not known.
    certificate: Certificate | None
    #: Follows the certificate's name: "has expired".
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    #: From the leaf to the anchor, both included. Empty: there is none.
    path: tuple[Certificate, ...]
    #: None: accepted.
    fault: Fault | None
    #: What a stricter reader objects to, though it is accepted: each of RFC 5280's and the Web PKI's profile. Only looked for
    #: where `Question.profile` asks.
    objections: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        return self.fault is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked besides path, signatures, times, constraints and purpose."""

    purpose: Purpose = "server"
    #: The leaf must speak for it. None: not asked.
    host: str | None = None
    #: Whatever CRLs there are, of whomever. None: revocation is not asked for; else every certificate must be good.
    crls: Sequence[x509.CertificateRevocationList] | None = None
    policies: PolicyDemand | None = None
    #: Most CA certificates between leaf and anchor. None: as many as `openssl` takes.
    max_intermediates: int | None = None
    #: Also hold it against the strict profiles.
    profile: bool = False


def judge(
    leaf: Certificate,
    others: Sequence[Certificate],
    trust: TrustStore,
    now: datetime,
    question: Question = Question(),
) -> Verdict:
    """`others`: what was presented with the leaf, in any order, with anything else beside. Pure and bounded: at most
    some dozens of validations by OpenSSL, however many certificates of one name there are. Raises nothing."""
    pool = [each.der for each in others]
    path, refused = _path(leaf, others, pool, trust, now, question)
    if path is None:
        assert refused is not None  # noqa: S101 - one of the two
        return Verdict(path=(), fault=_openssl_fault(refused))
    found = _known(path, (leaf, *others), trust)
    try:
        fault = _fault(found, pool, trust, now, question)
        objections = (
            () if fault or not question.profile else tuple(_objections(found, pool, trust, now, question))
        )
    except (ValueError, x509.InvalidVersion) as error:
        fault, objections = Fault(kind="malformed", certificate=None, text=f"cannot be read: {error}"), ()
    return Verdict(path=found, fault=fault, objections=objections)


def _known(
    path: Sequence[bytes], presented: Sequence[Certificate], trust: TrustStore
) -> tuple[Certificate, ...]:
    """The same certificates, as they were read already."""
    by_der = {each.der: each for each in presented}
    return tuple(by_der.get(each) or trust.by_der.get(each) or read(each) for each in path)


def _path(
    leaf: Certificate,
    others: Sequence[Certificate],
    pool: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    question: Question,
) -> tuple[tuple[bytes, ...] | None, Refusal | None]:
    first = openssl.verify(leaf.der, pool, trust, now, purpose=question.purpose)
    if not isinstance(first, Refusal):
        return first, None
    for candidate in candidate_paths(leaf, others, trust):
        again = openssl.verify(
            leaf.der, [each.der for each in candidate[1:]], trust, now, purpose=question.purpose
        )
        if not isinstance(again, Refusal):
            return again, None
    return None, first


def _fault(
    path: tuple[Certificate, ...],
    pool: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    question: Question,
) -> Fault | None:
    leaf = path[0]
    if question.host is not None and not covers(leaf.names, question.host):
        return Fault(kind="name", certificate=leaf, text=f"does not speak for {question.host}")
    if question.max_intermediates is not None:
        between = [each for each in path[1:-1] if not each.is_self_issued]
        if len(between) > question.max_intermediates:
            return Fault(
                kind="path-length",
                certificate=leaf,
                text=f"has more than {question.max_intermediates} CAs above it",
            )
    if question.policies is not None:
        at = policy_fault(_loaded(path[:-1]), question.policies)
        if at is not None:
            return Fault(kind="policy", certificate=path[at], text="has no policy that is accepted")
    if question.crls is not None:
        return _revoked(path, pool, trust, now, question.crls)
    return None


def _revoked(
    path: tuple[Certificate, ...],
    pool: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    crls: Sequence[x509.CertificateRevocationList],
    deep: int = 0,
) -> Fault | None:
    known = {each.der: each for each in path}
    candidates = [*_loaded(path), *_loadable(each for each in pool if each not in known)]

    def signers_of(name: x509.Name) -> Iterable[x509.Certificate]:
        wanted = crl_check.prepared(name)
        for each in candidates:
            if crl_check.prepared(each.subject) != wanted:
                continue
            der = each.public_bytes(Encoding.DER)
            if der in known:
                yield each
                continue
            above = openssl.verify(der, pool, trust, now, purpose="any")
            if isinstance(above, Refusal) or deep >= _SIGNERS_DEEP:
                continue
            # Its own certificate may be revoked (RFC 5280, 6.3.3 f: the path of the CRL's issuer is validated).
            if _revoked(tuple(map(read, above)), pool, trust, now, crls, deep + 1) is None:
                yield each

    for certificate, loaded in zip(path[:-1], _loaded(path[:-1]), strict=True):
        found = crl_check.check(loaded, crls, signers_of, now)
        if found.status == "revoked":
            why = f" ({found.reason})" if found.reason else ""
            return Fault(kind="revoked", certificate=certificate, text=f"is revoked{why}")
        if found.status == "unknown":
            return Fault(
                kind="revocation-unknown", certificate=certificate, text=f"may be revoked: {found.why}"
            )
    return None


def _objections(
    path: tuple[Certificate, ...],
    pool: Sequence[bytes],
    trust: TrustStore,
    now: datetime,
    question: Question,
) -> Iterable[str]:
    for index, text in strict.faults(_loaded(path), question.purpose):
        yield f"{path[index].shown}: {text}"
    issuers = {crl_check.prepared(each.subject) for each in _loaded(path[1:])}
    for crl in question.crls or ():
        if crl_check.prepared(crl.issuer) in issuers:
            yield from (f"{crl.issuer.rfc4514_string()}: {each}" for each in strict.crl_faults(crl))
    above = [each.der for each in path[1:]]
    again = openssl.verify(path[0].der, above, trust, now, purpose=question.purpose, strict=True)
    if isinstance(again, Refusal):
        at = _openssl_fault(again)
        yield f"{at.certificate.shown if at.certificate else path[0].shown}: {again.text} (OpenSSL, strict)"
    refused = webpki.refusal(path[0].der, pool, trust, now, purpose=question.purpose, host=question.host)
    if refused is not None:
        yield f"{path[0].shown}: {refused} (Web PKI profile)"


def _openssl_fault(refused: Refusal) -> Fault:
    kind, text = faults.of_openssl(refused.code)
    if text.endswith("refused by OpenSSL"):
        text = f"{text}: {refused.text}"
    at = None if refused.certificate is None else read(refused.certificate)
    return Fault(kind=kind, certificate=at, text=text)


def _loadable(pool: Iterable[bytes]) -> Iterable[x509.Certificate]:
    """Whatever was presented beside the path may be broken, and is then no signer of anything."""
    for each in pool:
        try:
            yield x509.load_der_x509_certificate(each)
        except (ValueError, x509.InvalidVersion):
            continue


def _loaded(path: Sequence[Certificate]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(each.der) for each in path]
