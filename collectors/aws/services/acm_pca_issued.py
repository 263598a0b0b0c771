"""What a private CA issued: there is no listing of it, only an audit report that the CA writes to a bucket."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from certwatch.doors.aws import AWSError, Client, Stopped
from certwatch.model.observation import Fact, Incomplete, LookError, Observation, Unchanged
from collectors.aws.place import issued_location, issued_scope, name_of
from collectors.aws.region import Region
from collectors.aws.service import Said

OPERATIONS = (
    "CreateCertificateAuthorityAuditReport",
    "DescribeCertificateAuthorityAuditReport",
    "GetCertificate",
)
#: Of a report; there are about 500 bytes to a certificate.
MAX_BYTES = 128 << 20
#: A report is waited for so long; later the next scan finds it.
WAIT_SECONDS = 60.0
_GLANCE_SECONDS = 1.0
#: What has ended for longer is nobody's concern.
_EXPIRED = timedelta(days=30)
_REASONS = {
    "KEY_COMPROMISE": "keyCompromise",
    "CERTIFICATE_AUTHORITY_COMPROMISE": "cACompromise",
    "AFFILIATION_CHANGED": "affiliationChanged",
    "SUPERSEDED": "superseded",
    "CESSATION_OF_OPERATION": "cessationOfOperation",
    "PRIVILEGE_WITHDRAWN": "privilegeWithdrawn",
    "A_A_COMPROMISE": "aACompromise",
    "UNSPECIFIED": "unspecified",
}


def look(region: Region, client: Client, authority: str) -> Iterator[Said]:
    scope = issued_scope(region.account.id, region.name, name_of(authority))
    try:
        report = _report(region, client, authority)
        if report is None:
            yield Unchanged(scope=scope)
            return
        for each in report:
            seen = _issued(region, client, authority, each, scope)
            if seen is not None:
                yield seen
    except AWSError as error:
        yield Incomplete(scope=scope, error=error.error)


def _report(region: Region, client: Client, authority: str) -> list[Mapping[str, Any]] | None:
    """None: there is no new one yet. Raises AWSError."""
    memory = region.memory.setdefault(("audit", authority), {})
    last = memory.get("read_at")
    if "id" not in memory:
        if last is not None and region.now < last + region.config.audit_every:
            return None
        asked = client.call(
            "CreateCertificateAuthorityAuditReport",
            CertificateAuthorityArn=authority,
            S3BucketName=region.config.audit_bucket,
            AuditReportResponseFormat="JSON",
        )
        memory["id"] = str(asked["AuditReportId"])
    waited = 0.0
    while True:
        state = client.call(
            "DescribeCertificateAuthorityAuditReport",
            CertificateAuthorityArn=authority,
            AuditReportId=memory["id"],
        )
        status = state.get("AuditReportStatus")
        if status != "CREATING":
            break
        if waited >= WAIT_SECONDS:
            return None
        if region.stopped.wait(_GLANCE_SECONDS):
            raise Stopped
        waited += _GLANCE_SECONDS
    del memory["id"]
    if status != "SUCCESS":
        raise AWSError(
            "other",
            f"{authority}: its audit report could not be written to {region.config.audit_bucket}. Check the bucket's policy "
            "(docs/cloud.md)",
        )
    found = _read(region, str(state["S3BucketName"]), str(state["S3Key"]), authority)
    memory["read_at"] = region.now
    return found


def _read(region: Region, bucket: str, key: str, authority: str) -> list[Mapping[str, Any]]:
    body = region.client("s3").call("GetObject", Bucket=bucket, Key=key)["Body"]
    try:
        data = body.read(MAX_BYTES + 1)
    finally:
        body.close()
    where = f"{authority}: audit report s3://{bucket}/{key}"
    if len(data) > MAX_BYTES:
        raise AWSError("malformed", f"{where}: has more than {MAX_BYTES} bytes and is not read")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise AWSError("malformed", f"{where}: is not JSON") from error
    if not isinstance(found, list):
        raise AWSError("malformed", f"{where}: is not a list")
    return [each for each in found if isinstance(each, dict)]


def _issued(
    region: Region, client: Client, authority: str, each: Mapping[str, Any], scope: str
) -> Observation | None:
    not_after = _instant(each.get("notAfter"))
    if not_after is not None and not_after < region.now - _EXPIRED:
        return None
    arn, serial = str(each.get("certificateArn", "")), _serial(each.get("serial"))
    if not serial:
        return None
    uri = issued_location(region.collector, region.account.id, region.name, name_of(authority), serial)
    facts: dict[str, Fact] = {"ca_status": "issued", "aws_arn": arn}
    if revoked_at := _instant(each.get("revokedAt")):
        facts["ca_status"] = "revoked"
        facts["revoked_at"] = revoked_at.isoformat().replace("+00:00", "Z")
        reason = str(each.get("revocationReason") or "")
        if reason:
            facts["revocation_reason"] = _REASONS.get(reason, reason[:100])
    if template := str(each.get("templateArn") or ""):
        facts["ca_profile"] = name_of(template)[:100]
    known = region.known.served(uri)
    error = None
    if known is not None and known.chain:
        chain = tuple(it.der for it in known.chain)
    else:
        try:
            got = client.call("GetCertificate", CertificateAuthorityArn=authority, CertificateArn=arn)
            # The issuers are the CA's own location.
            chain = region.chain(got.get("Certificate"))[:1]
        except AWSError as refused:
            if refused.kind == "permission":
                raise
            chain, error = (), refused.error
    if not chain:
        error = error or LookError(
            kind="malformed", message=f"{uri}: AWS gave no certificate that can be read"
        )
    return Observation(
        location=uri,
        observed_at=region.clock(),
        chain=chain,
        facts=facts,
        error=error,
        labels={**region.account_labels, "account": region.account.id, "region": region.name},
        scope=scope,
    )


def _serial(value: object) -> str:
    """Hex, as other books of CAs have it. Empty: it is none."""
    text = str(value or "").replace(":", "").lower()
    return text if text and len(text) <= 64 and all(each in "0123456789abcdef" for each in text) else ""


def _instant(value: object) -> datetime | None:
    """As reports write it: "2020-02-26T18:39:57+0000"."""
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
