"""Lints of a certificate by pkilint: RFC 5280, and the Baseline Requirements for TLS as they were when it was issued.

pkilint takes two milliseconds a certificate and half a second to import: who calls this has a process for it.
"""

import re
from collections.abc import Collection
from functools import cache
from importlib.metadata import version
from typing import Any

from pkilint import finding_filter, loader
from pkilint.cabf import serverauth
from pkilint.pkix import certificate, crl, extension, name, ocsp
from pkilint.validation import ValidationFindingSeverity as Severity

from certwatch.model.lint import Lint, Profile

#: Of one certificate; what more it finds is not kept.
MOST = 50
MAX_MESSAGE = 300
FORMAT: tuple[Profile, ...] = ("rfc5280",)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf'"(\*\.)?{_LABEL}(\.{_LABEL})*"')
EVERY: tuple[Profile, ...] = (*FORMAT, "cabf-tls")


def linter() -> str:
    """Another one may find something else."""
    return f"pkilint {version('pkilint')}"


def lint(der: bytes, profiles: Collection[Profile] = EVERY) -> list[Lint]:
    """By these profiles; gravest first. Raises ValueError: it cannot be parsed, of which the rule
    `unreadable` tells."""
    document = loader.RFC5280CertificateDocumentLoader().load_document(der, "certificate")
    found: list[Lint] = []
    if "rfc5280" in profiles:
        found += _said("rfc5280", _rfc5280().validate(document.root))
    if "cabf-tls" in profiles and _is_for_tls(document):
        kind = serverauth.determine_certificate_type(document)
        results, _ = finding_filter.filter_results(
            serverauth.create_serverauth_finding_filters(kind), _baseline(kind).validate(document.root)
        )
        known = {(each.code, each.message) for each in found}
        found += [each for each in _said("cabf-tls", results) if (each.code, each.message) not in known]
    found.sort(key=lambda each: each.severity != "error")
    return found[:MOST]


def lint_crl(der: bytes) -> list[str]:
    """Codes of what RFC 5280 (5) does not allow in a revocation list. Raises ValueError: it cannot be parsed."""
    document = loader.RFC5280CertificateListDocumentLoader().load_document(der, "crl")
    return _codes(_rfc5280_crl().validate(document.root))


def lint_ocsp(der: bytes) -> list[str]:
    """Codes of what RFC 6960 does not allow in an answer. Raises ValueError: it cannot be parsed."""
    document = loader.RFC6960OCSPResponseDocumentLoader().load_document(der, "ocsp")
    return _codes(_rfc6960().validate(document.root))


def _codes(results: Any) -> list[str]:
    said = _said("rfc5280", results)
    return list(dict.fromkeys(each.code for each in said if each.severity == "error"))[:MOST]


@cache
def _rfc5280_crl() -> Any:
    return crl.create_pkix_crl_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            crl.create_issuer_validator_container([]),
            crl.create_validity_validator_container([]),
            crl.create_extensions_validator_container([]),
        ],
    )


@cache
def _rfc6960() -> Any:
    decoders = [
        ocsp.create_response_decoder(),
        *certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
    ]
    return ocsp.create_pkix_ocsp_response_validator_container(decoders, [])


def _is_for_tls(document: Any) -> bool:
    """Has dNSName or iPAddress names, or is a CA: else the Baseline Requirements do not concern it."""
    try:
        return (
            bool(document.is_ca)
            or document.get_extension_by_oid(extension.rfc5280.id_ce_subjectAltName) is not None
        )
    except (ValueError, AttributeError):
        return False


@cache
def _rfc5280() -> Any:
    return certificate.create_pkix_certificate_validator_container(
        certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
        [
            certificate.create_issuer_validator_container([]),
            certificate.create_validity_validator_container(),
            certificate.create_subject_validator_container([]),
            certificate.create_extensions_validator_container([]),
            certificate.create_spki_validator_container([]),
        ],
    )


@cache
def _baseline(kind: Any) -> Any:
    return certificate.create_pkix_certificate_validator_container(
        serverauth.create_decoding_validators(), serverauth.create_validators(kind)
    )


def _said(profile: Profile, results: Any) -> list[Lint]:
    said = {
        Lint(
            profile=profile,
            severity="error" if each.finding.severity <= Severity.ERROR else "warning",
            code=each.finding.code,
            message=(each.message or "")[:MAX_MESSAGE],
        ): None
        for result in results
        for each in result.finding_descriptions
        if each.finding.severity <= Severity.WARNING and not _is_name(each)
    }
    return list(said)


def _is_name(found: Any) -> bool:
    """The linter takes wildcards, of which RFC 5280 (4.2.1.6) says nothing, and names of one label ("localhost") for no
    names at all. By RFC 1034 (3.5), which it stands on, a domain may have one label."""
    return (
        found.finding.code == "pkix.invalid_domain_name_syntax"
        and _NAME.search(found.message or "") is not None
    )
