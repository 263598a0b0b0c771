"""AWS Certificate Manager. The listing tells what has changed; only that is described and fetched."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from certwatch.doors.aws import AWSError
from certwatch.model.observation import Fact, Observation
from collectors.aws.place import location, name_of, users
from collectors.aws.region import Region
from collectors.aws.service import Service

#: Without these ListCertificates leaves out all keys but RSA of 1024 and 2048 bits, and whatever an ACME client asked for.
KEY_TYPES = (
    "RSA_1024",
    "RSA_2048",
    "RSA_3072",
    "RSA_4096",
    "EC_prime256v1",
    "EC_secp384r1",
    "EC_secp521r1",
)
KEY_PAIR_ORIGINS = ("AWS_MANAGED", "ACME", "CUSTOMER_PROVIDED")
PAGE = 1000
#: What the certificate itself is: it changes when ACM renews, or somebody imports anew under the same ARN.
_ITSELF = ("NotBefore", "NotAfter", "IssuedAt", "ImportedAt", "CertificateKeyPairOrigin", "KeyAlgorithm")
#: These have a certificate to give (PENDING_VALIDATION, FAILED and VALIDATION_TIMED_OUT never had one).
_WITH_BODY = frozenset({"ISSUED", "EXPIRED", "REVOKED", "INACTIVE"})
_RENEWAL = {
    "PENDING_AUTO_RENEWAL": "pending",
    "PENDING_VALIDATION": "pending",
    "FAILED": "failed",
    "SUCCESS": "ok",
}
_STATUS = {"PENDING_VALIDATION": "pending", "FAILED": "failed", "VALIDATION_TIMED_OUT": "failed"}


def look(region: Region) -> Iterator[Observation]:
    for page in region.client("acm").pages(
        "ListCertificates",
        Includes={"keyTypes": list(KEY_TYPES)},
        CertificateKeyPairOrigins=list(KEY_PAIR_ORIGINS),
        PaginationConfig={"PageSize": PAGE},
    ):
        for summary in page.get("CertificateSummaryList", ()):
            seen = _certificate(region, summary)
            if seen is not None:
                yield seen


def _certificate(region: Region, summary: Mapping[str, Any]) -> Observation | None:
    """None: it was deleted since it was listed."""
    arn = str(summary["CertificateArn"])
    name = name_of(arn)
    uri = location(region.account.id, region.name, "acm", name)
    itself, listed = _digest(summary, _ITSELF), _digest(summary, sorted(summary))
    known = region.known.served(uri)
    body, _, whole = str(known.facts.get("aws_mark", "") if known is not None else "").partition(" ")
    if known is not None and whole == listed and not region.known.is_due(uri):
        if summary.get("InUse") and known.chain:
            region.keep(arn, tuple(each.der for each in known.chain))
        return region.again("acm", known, arn)
    client = region.client("acm")
    try:
        described = client.call("DescribeCertificate", CertificateArn=arn)["Certificate"]
        if known is not None and known.chain and body == itself:
            chain = tuple(each.der for each in known.chain)
        elif described.get("Status") in _WITH_BODY:
            got = client.call("GetCertificate", CertificateArn=arn)
            chain = region.chain(got.get("Certificate"), got.get("CertificateChain"))
        else:
            chain = ()
    except AWSError as error:
        if error.is_absent:
            return None
        raise
    if described.get("InUseBy"):
        region.keep(arn, chain)
    return region.look(
        "acm",
        name,
        arn=arn,
        chain=chain,
        facts={**facts_of(described), "aws_mark": f"{itself} {listed}"},
        has_certificate=described.get("Status") == "ISSUED",
    )


def facts_of(described: Mapping[str, Any]) -> dict[str, Fact | None]:
    status = str(described.get("Status", ""))
    summary = described.get("RenewalSummary") or {}
    used_by = [str(each) for each in described.get("InUseBy", ())]
    pending = [
        str(each.get("DomainName"))
        for each in (summary.get("DomainValidationOptions") or described.get("DomainValidationOptions") or ())
        if each.get("ValidationStatus") not in ("SUCCESS", None)
    ]
    renewal = _RENEWAL.get(str(summary.get("RenewalStatus", "")), "") or _STATUS.get(status, "")
    return {
        "in_use": bool(used_by),
        "in_use_by": users(used_by) if used_by else None,
        "renewal": renewal or None,
        "renewal_reason": summary.get("RenewalStatusReason") or described.get("FailureReason"),
        "renewal_since": _instant(summary.get("UpdatedAt")),
        "renewal_unvalidated": " ".join(sorted(pending)[:20])
        if pending and renewal in ("pending", "failed")
        else None,
        "renewal_managed": described.get("RenewalEligibility") == "ELIGIBLE",
        "aws_status": status or None,
        "aws_type": described.get("Type"),
        "aws_key_pair_origin": described.get("CertificateKeyPairOrigin"),
        "aws_managed_by": described.get("ManagedBy"),
        "aws_certificate_authority": described.get("CertificateAuthorityArn"),
        "revoked_at": _instant(described.get("RevokedAt")),
        "revocation_reason": described.get("RevocationReason"),
        # Of those that have no certificate yet.
        "aws_domain": described.get("DomainName") if status not in _WITH_BODY else None,
    }


def _instant(value: object) -> str | None:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else None


def _digest(summary: Mapping[str, Any], keys: Any) -> str:
    return sha256(repr([(key, summary.get(key)) for key in keys]).encode()).hexdigest()[:16]


SERVICE = Service(
    name="acm",
    look=look,
    operations={"acm": ("ListCertificates", "DescribeCertificate", "GetCertificate")},
)
