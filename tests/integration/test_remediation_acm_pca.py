"""Certificates of a private CA of AWS: moto's server stands for AWS."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.doors.aws import AWSError
from certwatch.model.clock import system_clock
from certwatch.plugins.issuer import CertificateRequest, IssueFailed, IssuerContext
from certwatch.remediation.issuers.acm_pca import AcmPcaConfig, AcmPcaIssuer, _failed
from certwatch.remediation.material import csr_for, material_of, new_key
from certwatch.x509.der import read
from tests.support.aws import AWS

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]
NAMES = ("dns:www.example.com", "dns:example.com")
REGION = "eu-west-1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def private_ca(aws: AWS, *, active: bool = True) -> str:
    client = aws.client("acm-pca", REGION)
    arn: str = client.create_certificate_authority(
        CertificateAuthorityType="ROOT",
        CertificateAuthorityConfiguration={
            "KeyAlgorithm": "RSA_2048",
            "SigningAlgorithm": "SHA256WITHRSA",
            "Subject": {"CommonName": "Private Root"},
        },
    )["CertificateAuthorityArn"]
    if active:
        csr = client.get_certificate_authority_csr(CertificateAuthorityArn=arn)["Csr"]
        root = client.issue_certificate(
            CertificateAuthorityArn=arn,
            Csr=csr.encode(),
            SigningAlgorithm="SHA256WITHRSA",
            TemplateArn="arn:aws:acm-pca:::template/RootCACertificate/V1",
            Validity={"Type": "YEARS", "Value": 10},
        )["CertificateArn"]
        pem = client.get_certificate(CertificateAuthorityArn=arn, CertificateArn=root)["Certificate"]
        client.import_certificate_authority_certificate(CertificateAuthorityArn=arn, Certificate=pem.encode())
    return arn


def issuer(aws: AWS, arn: str, **more: Any) -> AcmPcaIssuer:
    config = AcmPcaConfig(ca=arn, endpoint_url=aws.url, **more)
    return AcmPcaIssuer(config, IssuerContext(clock=system_clock))


def request() -> tuple[Any, CertificateRequest]:
    key = new_key("ec-p256")
    csr = csr_for(key, NAMES)
    return key, CertificateRequest(csr_pem=csr, names=NAMES, replaces=None, idempotency_key="certwatch-1-1")


async def test_it_signs_for_the_names_that_were_asked_for_and_revokes(aws: AWS) -> None:
    it = issuer(aws, private_ca(aws))
    key, wanted = request()
    made = material_of(key.public_key(), await it.issue(wanted), NAMES, key_pem=b"")
    leaf = x509.load_pem_x509_certificate(made.chain_pem)
    assert leaf.issuer.rfc4514_string() == "CN=Private Root"
    # Its root stands above it, which nobody presents.
    assert made.chain_pem.count(b"BEGIN CERTIFICATE") == 1
    await it.revoke(read(leaf.public_bytes(Encoding.DER)), "superseded")


@pytest.mark.parametrize("code", ["AccessDeniedException", "MalformedCSRException"])
async def test_what_is_refused_is_not_tried_again(aws: AWS, code: str) -> None:
    arn = private_ca(aws)
    aws.fail("acm-pca", "IssueCertificate", code)
    with pytest.raises(IssueFailed) as failed:
        await issuer(aws, arn).issue(request()[1])
    assert (failed.value.kind, failed.value.again) == ("refused", False)
    assert ("Grant acm-pca:" in failed.value.message) == (code == "AccessDeniedException")


def test_too_many_is_tried_later_and_a_moments_failure_again() -> None:
    """By itself: botocore tries both for long before it says so."""
    limit = _failed(AWSError("other", "too many", code="LimitExceededException"))
    assert (limit.kind, limit.again, limit.retry_after) == ("limit", True, 3600.0)
    down = _failed(AWSError("timeout", "no answer"))
    assert (down.kind, down.again) == ("unavailable", True)


async def test_a_ca_that_is_not_active_issues_nothing(aws: AWS) -> None:
    with pytest.raises(IssueFailed, match="is PENDING_CERTIFICATE, and issues nothing"):
        await issuer(aws, private_ca(aws, active=False)).issue(request()[1])


async def test_a_ca_that_is_not_there_is_named(aws: AWS) -> None:
    arn = private_ca(aws)[:-4] + "0000"
    with pytest.raises(IssueFailed, match=arn[-20:]) as failed:
        await issuer(aws, arn).issue(request()[1])
    assert failed.value.kind == "refused"


def test_an_arn_of_something_else_is_a_mistake_of_the_config() -> None:
    with pytest.raises(ValueError, match="ca"):
        AcmPcaConfig(ca="arn:aws:acm:eu-west-1:123456789012:certificate/1")
