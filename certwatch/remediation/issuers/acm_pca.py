"""A private CA of AWS (ACM PCA): it signs the CSR by a template that takes the names from it."""

import asyncio
import hashlib
import time
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from certwatch.model.certificate import Certificate
from certwatch.plugins.duration import Duration
from certwatch.plugins.issuer import (
    CertificateRequest,
    IssueErrorKind,
    IssueFailed,
    IssuerConfig,
    IssuerContext,
)

#: What it asks of AWS: docs/remediation.md has it as rights.
OPERATIONS = {
    "acm-pca": frozenset(
        {"DescribeCertificateAuthority", "IssueCertificate", "GetCertificate", "RevokeCertificate"}
    )
}
#: Until the certificate is there: seconds, as AWS says.
ISSUE_SECONDS, POLL_SECONDS = 120.0, 1.0
REASONS = {
    "unspecified": "UNSPECIFIED",
    "key-compromise": "KEY_COMPROMISE",
    "affiliation-changed": "AFFILIATION_CHANGED",
    "superseded": "SUPERSEDED",
    "cessation-of-operation": "CESSATION_OF_OPERATION",
}
_REFUSED = frozenset(
    {"MalformedCSRException", "InvalidArgsException", "InvalidArnException", "InvalidStateException", "ValidationException"}
)  # fmt: skip


class AcmPcaConfig(IssuerConfig):
    #: ARN of the CA.
    ca: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:acm-pca:[a-z0-9-]+:\d{12}:certificate-authority/.+$")]
    lifetime: Duration = timedelta(days=90)
    #: ARN of a template. None: AWS's for servers and clients (EndEntityCertificate/V1).
    template: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:acm-pca:::template/.+$")
    #: A profile of ~/.aws/config. None: the usual chain (environment, container, instance).
    profile: str | None = None
    #: Role to take on, where the CA is in another account; its external id.
    role_arn: str | None = Field(default=None, pattern=r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$")
    external_id: str | None = None
    endpoint_url: Annotated[str, Field(pattern=r"^https?://")] | None = None


class AcmPcaIssuer:
    Config: ClassVar[type[IssuerConfig]] = AcmPcaConfig

    def __init__(self, config: AcmPcaConfig, context: IssuerContext) -> None:
        self._config = config
        self._clock = context.clock

    async def issue(self, request: CertificateRequest) -> bytes:
        return await asyncio.to_thread(self._issue, request)

    async def revoke(self, certificate: Certificate, reason: str) -> None:
        await asyncio.to_thread(self._revoke, certificate, reason)

    def _issue(self, request: CertificateRequest) -> bytes:
        config, client = self._config, self._client()
        described = self._ask(client, "DescribeCertificateAuthority", CertificateAuthorityArn=config.ca)
        authority = described["CertificateAuthority"]
        if authority.get("Status") != "ACTIVE":
            raise IssueFailed(
                "unavailable", f"{config.ca}: is {authority.get('Status')}, and issues nothing", again=True
            )
        # An absolute end, in seconds: days would be rounded up to their end.
        end = int((self._clock() + config.lifetime).timestamp())
        more = {"TemplateArn": config.template} if config.template is not None else {}
        issued = self._ask(
            client,
            "IssueCertificate",
            CertificateAuthorityArn=config.ca,
            Csr=request.csr_pem,
            SigningAlgorithm=authority["CertificateAuthorityConfiguration"]["SigningAlgorithm"],
            Validity={"Type": "ABSOLUTE", "Value": end},
            # The same wish with the same key gives the same certificate; another key is another wish.
            IdempotencyToken=hashlib.sha256(request.idempotency_key.encode() + request.csr_pem).hexdigest()[
                :36
            ],
            **more,
        )
        said = self._got(client, issued["CertificateArn"])
        try:
            return _chain(said["Certificate"], said.get("CertificateChain") or "")
        except ValueError as error:
            raise IssueFailed("wrong", f"{config.ca}: gave no certificate: {error}") from error

    def _got(self, client: Any, arn: str) -> Any:
        until = time.monotonic() + ISSUE_SECONDS
        while True:
            try:
                return self._ask(
                    client, "GetCertificate", CertificateAuthorityArn=self._config.ca, CertificateArn=arn
                )
            except _InProgress as error:
                if time.monotonic() > until:
                    raise IssueFailed(
                        "unavailable",
                        f"{self._config.ca}: nothing is issued within {ISSUE_SECONDS:g} s",
                        again=True,
                    ) from error
            time.sleep(POLL_SECONDS)

    def _revoke(self, certificate: Certificate, reason: str) -> None:
        serial = ":".join(certificate.serial_hex[n : n + 2] for n in range(0, len(certificate.serial_hex), 2))
        try:
            self._ask(
                self._client(),
                "RevokeCertificate",
                CertificateAuthorityArn=self._config.ca,
                CertificateSerial=serial,
                RevocationReason=REASONS.get(reason, "UNSPECIFIED"),
            )
        except _AlreadyDone:
            return

    def _client(self) -> Any:
        config = self._config
        _, _, _, region, account, _ = config.ca.split(":", 5)
        door = _door(config.endpoint_url)
        from certwatch.doors.aws import AWSError, Role

        role = (
            Role(arn=config.role_arn, external_id=config.external_id, session_name="certwatch")
            if config.role_arn
            else None
        )
        try:
            opened = door.account("remediation", id=account, profile=config.profile, role=role)
        except AWSError as error:
            raise _failed(error) from error
        return opened.client("acm-pca", region)

    def _ask(self, client: Any, operation: str, **parameters: Any) -> Any:
        from certwatch.doors.aws import AWSError

        try:
            return client.call(operation, **parameters)
        except AWSError as error:
            if error.code == "RequestInProgressException":
                raise _InProgress from error
            if error.code == "RequestAlreadyProcessedException":
                raise _AlreadyDone from error
            raise _failed(error) from error


class _InProgress(Exception):
    """It is not issued yet."""


class _AlreadyDone(Exception):
    """It is revoked already."""


@cache
def _door(endpoint_url: str | None) -> Any:
    try:
        from certwatch.doors.aws import Door, Limits
    except ModuleNotFoundError as error:
        raise IssueFailed(
            "other", 'AWS needs boto3. Install it with: pip install "certwatch[aws]"'
        ) from error
    return Door(OPERATIONS, Limits(), endpoint_url=endpoint_url)


def _failed(error: Any) -> IssueFailed:
    kind: IssueErrorKind = "unavailable"
    if error.code == "LimitExceededException":
        kind = "limit"
    elif error.kind in ("permission", "not-found") or error.code in _REFUSED:
        kind = "refused"
    more = ""
    if error.kind == "permission":
        more = (
            ". Grant "
            + ", ".join(f"acm-pca:{each}" for each in sorted(OPERATIONS["acm-pca"]))
            + " on that CA"
        )
    return IssueFailed(
        kind,
        f"{error.message}{more}",
        again=kind != "refused",
        retry_after=3600.0 if kind == "limit" else None,
    )


def _chain(certificate: str, above: str) -> bytes:
    """Leaf first, without the root. Raises ValueError."""
    found = [x509.load_pem_x509_certificate(certificate.encode())]
    if above.strip():
        found += x509.load_pem_x509_certificates(above.encode())
    kept = [each for n, each in enumerate(found) if n == 0 or each.subject != each.issuer]
    return b"".join(each.public_bytes(Encoding.PEM) for each in kept)
