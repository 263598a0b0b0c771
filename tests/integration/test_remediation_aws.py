"""Certificates that were imported into ACM, imported anew by the daemon: moto's server stands for AWS."""

from pathlib import Path
from typing import Any

import pytest

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Target
from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.remediation.deployers.aws import AWSConfig, AWSDeployer
from certwatch.remediation.material import split_pem
from certwatch.x509.der import read
from tests.support.aws import AWS, OWN, imported
from tests.support.daemon import certwatch
from tests.support.remediation import Renewing, dying, found_ca, material, rest_of_config
from tests.support.remediation import target as target_at

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

CA = make_ca("Cloud CA", issuer=make_ca("Cloud Root", key_number=140), key_number=141)
FORMER = make_certificate(issuer=CA, key_kind="rsa", key_number=21)
NEW = make_certificate(issuer=CA, key_kind="rsa", key_number=22)
OTHER = make_certificate(names=["dns:other.example.com"], issuer=CA, key_kind="rsa", key_number=23)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def deployer(aws: AWS, **more: Any) -> AWSDeployer:
    return AWSDeployer(AWSConfig(endpoint_url=aws.url, **more), DeployerContext(clock=system_clock))


def target(arn: str, account: str = OWN) -> Target:
    return target_at(f"aws://{account}/eu-west-1/acm/{arn.rpartition('/')[2]}", FORMER)


def test_the_certificate_is_imported_under_its_arn_and_the_finding_resolves(tmp_path: Path, aws: AWS) -> None:
    acm = aws.client("acm", "eu-west-1")
    arn = imported(acm, dying("shop.example.com", number=515))
    collectors = f"""
  - {{name: cloud, kind: aws, endpoint_url: '{aws.url}', regions: [eu-west-1], services: [acm]}}"""
    policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: aws, endpoint_url: '{aws.url}', accounts: ["{OWN}"]}}]
      approve: automatic"""
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    with certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        it.verified()
        [plan] = it.plans()
    said = acm.get_certificate(CertificateArn=arn)
    new = read(material_der(said["Certificate"]))
    assert new.fingerprint_sha256.hex() == plan["steps"][0]["said"]
    # moto puts a root of its own below, as AWS does.
    assert "Test Issuing" in read(material_der(said["CertificateChain"])).subject


def material_der(pem: str) -> bytes:
    return split_pem(pem.encode())[0]


async def test_a_roll_back_is_impossible_and_says_so(aws: AWS) -> None:
    it, place = deployer(aws), target(imported(aws.client("acm", "eu-west-1"), FORMER))
    # Nothing was done yet: nothing is to be undone.
    await it.undo(place)
    await it.deploy(place, material(NEW))
    assert (await it.present(place))[:2] == (NEW.der, CA.der)
    with pytest.raises(DeployFailed, match=r"ACM gives no private key back.*The new one stays"):
        await it.undo(place)


async def test_what_acm_renews_by_itself_is_left_to_it(aws: AWS) -> None:
    acm = aws.client("acm", "eu-west-1")
    arn = acm.request_certificate(DomainName="www.example.com", ValidationMethod="DNS")["CertificateArn"]
    with pytest.raises(DeployFailed, match="AMAZON_ISSUED: ACM renews it by itself"):
        await deployer(aws).deploy(target(arn), material(NEW))


async def test_another_certificate_than_the_planned_one_stays(aws: AWS) -> None:
    it, place = deployer(aws), target(imported(aws.client("acm", "eu-west-1"), OTHER))
    with pytest.raises(DeployFailed, match="another certificate") as failed:
        await it.deploy(place, material(NEW))
    assert failed.value.kind == "changed"
    assert (await it.present(place))[0] == OTHER.der


async def test_credentials_of_another_account_touch_nothing(aws: AWS) -> None:
    place = target(imported(aws.client("acm", "eu-west-1"), FORMER), account="222222222222")
    with pytest.raises(DeployFailed, match=rf"of account {OWN}: give role_arn: of account 222222222222"):
        await deployer(aws).deploy(place, material(NEW))


async def test_a_right_that_is_missing_is_named(aws: AWS) -> None:
    place = target(imported(aws.client("acm", "eu-west-1"), FORMER))
    aws.fail("acm", "ImportCertificate", "AccessDeniedException")
    with pytest.raises(DeployFailed, match="ImportCertificate") as failed:
        await deployer(aws).deploy(place, material(NEW))
    assert failed.value.kind == "permission"


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        (f"aws://{OWN}/eu-west-1/acm/1234", True),
        ("aws://222222222222/eu-west-1/acm/1234", False),
        (f"aws://{OWN}/eu-west-1/acm-pca/1234", False),
        ("file:///etc/ssl/web.pem", False),
    ],
)
def test_only_acm_of_its_accounts_is_taken(uri: str, taken: bool) -> None:
    it = AWSDeployer(AWSConfig(accounts=(OWN,)), DeployerContext(clock=system_clock))
    assert it.takes(target_at(uri, FORMER)) is taken
