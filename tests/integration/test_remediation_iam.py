"""Server certificates in IAM, and the load balancers that use them: moto's server stands for AWS."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Target
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.remediation.deployers.aws import AWSConfig, AWSDeployer
from certwatch.remediation.deployers.aws.iam import name_after
from certwatch.x509.der import read
from tests.support.aws import AWS, OWN, imported
from tests.support.daemon import certwatch
from tests.support.remediation import Renewing, dying, found_ca, material, rest_of_config
from tests.support.remediation import target as target_at

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(180)]

IRELAND, OREGON = "eu-west-1", "us-west-2"
CA = make_ca("Cloud CA", issuer=make_ca("Cloud Root", key_number=142), key_number=143)
FORMER = make_certificate(issuer=CA, key_kind="rsa", key_number=24)
NEW = make_certificate(issuer=CA, key_kind="rsa", key_number=25)
NEWER = make_certificate(issuer=CA, key_kind="rsa", key_number=26)
OTHER = make_certificate(names=["dns:other.example.com"], issuer=CA, key_kind="rsa", key_number=27)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Cloud:
    """Load balancers of one account, and what they have."""

    def __init__(self, aws: AWS) -> None:
        self.aws = aws
        self.iam = aws.client("iam")

    def upload(self, name: str, issued: Issued, path: str = "/") -> str:
        said = self.iam.upload_server_certificate(
            Path=path,
            ServerCertificateName=name,
            CertificateBody=issued.pem.decode(),
            PrivateKey=issued.key_pem.decode(),
        )
        return str(said["ServerCertificateMetadata"]["Arn"])

    def names(self) -> set[str]:
        """Of the server certificates that there are."""
        found = self.iam.list_server_certificates()["ServerCertificateMetadataList"]
        return {str(each["ServerCertificateName"]) for each in found}

    def classic(self, arn: str, region: str = IRELAND, name: str = "old") -> None:
        self.aws.client("elb", region).create_load_balancer(
            LoadBalancerName=name,
            Listeners=[
                {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstancePort": 80, "SSLCertificateId": arn}
            ],
            AvailabilityZones=[f"{region}a"],
        )

    def of_classic(self, region: str = IRELAND, name: str = "old") -> str:
        """Name of the certificate that it has."""
        found = self.aws.client("elb", region).describe_load_balancers(LoadBalancerNames=[name])
        listener = found["LoadBalancerDescriptions"][0]["ListenerDescriptions"][0]["Listener"]
        return str(listener["SSLCertificateId"]).rpartition("/")[2]

    def listener(self, default: str, *others: str, name: str = "front") -> tuple[str, str]:
        """Its ARN, and its location without a part."""
        elb = self.aws.client("elbv2", IRELAND)
        every = self.aws.client("ec2", IRELAND).describe_subnets()["Subnets"]
        balancer = elb.create_load_balancer(Name=name, Subnets=[each["SubnetId"] for each in every][:2])
        arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
        made = elb.create_listener(
            LoadBalancerArn=arn,
            Protocol="HTTPS",
            Port=443,
            Certificates=[{"CertificateArn": default}],
            DefaultActions=[{"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}],
        )["Listeners"][0]["ListenerArn"]
        for each in others:
            elb.add_listener_certificates(ListenerArn=made, Certificates=[{"CertificateArn": each}])
        return str(made), f"aws://{OWN}/{IRELAND}/elbv2/{str(arn).partition(':loadbalancer/')[2]}/443"

    def of_listener(self, arn: str) -> list[str]:
        """Names of its certificates, the default one first."""
        found = self.aws.client("elbv2", IRELAND).describe_listener_certificates(ListenerArn=arn)
        return [str(each["CertificateArn"]).rpartition("/")[2] for each in found["Certificates"]]


def after(issued: Issued, name: str = "web") -> str:
    return name_after(name, read(issued.der).fingerprint_sha256)


def deployer(aws: AWS, **more: Any) -> AWSDeployer:
    return AWSDeployer(AWSConfig(endpoint_url=aws.url, **more), DeployerContext(clock=system_clock))


def stored(name: str = "web") -> Target:
    return target_at(f"aws://{OWN}/global/iam/{name}", FORMER)


def used_at(uri: str, arn: str) -> Target:
    """A place that uses a certificate, as the collector sees it."""
    found = target_at(uri, FORMER)
    return Target(served=replace(found.served, facts={"aws_certificate": arn}), former=found.former)


POLICY = """issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: aws, endpoint_url: '{url}', accounts: ["{own}"]}}]
      verify: {{within: 60s}}
      most_tries: 1
      approve: automatic"""


def settings(aws: AWS) -> tuple[str, str]:
    collectors = f"""
  - {{name: cloud, kind: aws, endpoint_url: '{aws.url}', regions: [{IRELAND}], services: [iam, elb, elbv2]}}"""
    return collectors, POLICY.format(url=aws.url, own=OWN)


def test_every_load_balancer_gets_the_new_one_and_the_former_one_is_deleted(tmp_path: Path, aws: AWS) -> None:
    cloud = Cloud(aws)
    arn = cloud.upload("web", dying("shop.example.com", number=516), path="/shops/")
    cloud.classic(arn)
    listener, _ = cloud.listener(arn)
    # In a region that the collector does not look at.
    aws.answer("account", "ListRegions", {"Regions": [{"RegionName": IRELAND}, {"RegionName": OREGON}]})
    cloud.classic(arn, OREGON, "far")
    collectors, policy = settings(aws)
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    with certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        it.verified()
        [plan] = it.plans()
    [name] = cloud.names()
    assert name == f"web-certwatch-{plan['steps'][0]['said'][:16]}"
    assert [cloud.of_classic(), cloud.of_classic(OREGON, "far")] == [name, name]
    assert cloud.of_listener(listener) == [name]
    said = cloud.iam.get_server_certificate(ServerCertificateName=name)["ServerCertificate"]
    assert said["ServerCertificateMetadata"]["Path"] == "/shops/"
    assert "BEGIN CERTIFICATE" in said["CertificateChain"]


def test_a_load_balancer_that_refuses_has_all_put_back(tmp_path: Path, aws: AWS) -> None:
    cloud = Cloud(aws)
    arn = cloud.upload("web", dying("shop.example.com", number=516))
    cloud.classic(arn)
    listener, _ = cloud.listener(arn)
    aws.fail("elasticloadbalancing", "ModifyListener", "AccessDenied", status=403, xml=True)
    collectors, policy = settings(aws)
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    with certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        daemon.wait(
            lambda: any(each["state"] in ("rolled-back", "failed") for each in it.plans()),
            "a plan that is rolled back",
        )
        plan = it.plans()[0]
    assert plan["state"] == "rolled-back", plan
    assert "ModifyListener" in plan["why"]
    assert cloud.names() == {"web"}
    assert cloud.of_classic() == "web"
    assert cloud.of_listener(listener) == ["web"]


async def test_undo_puts_all_users_back_and_deletes_the_new_one(aws: AWS) -> None:
    cloud, it, place = Cloud(aws), deployer(aws), stored()
    arn, other = cloud.upload("web", FORMER), cloud.upload("other", OTHER)
    cloud.classic(arn)
    beside, _ = cloud.listener(other, arn)
    # Nothing was done yet: nothing is to be undone or forgotten.
    await it.undo(place)
    await it.forget(place)
    await it.deploy(place, material(NEW))
    assert (await it.present(place))[:2] == (NEW.der, CA.der)
    assert cloud.of_classic() == after(NEW)
    assert cloud.of_listener(beside) == ["other", after(NEW)]
    await it.undo(place)
    await it.forget(place)
    assert await it.present(place) == (FORMER.der,)
    assert cloud.of_classic() == "web"
    assert cloud.of_listener(beside) == ["other", "web"]
    assert cloud.names() == {"web", "other"}


async def test_a_crash_between_upload_and_switch_goes_on_with_what_is_there(aws: AWS) -> None:
    cloud, it, place = Cloud(aws), deployer(aws), stored()
    cloud.classic(cloud.upload("web", FORMER))
    cloud.upload(after(NEW), NEW)
    aws.calls()
    await it.deploy(place, material(NEW))
    assert aws.counted()["iam:UploadServerCertificate"] == 0
    assert cloud.of_classic() == after(NEW)
    await it.forget(place)
    assert cloud.names() == {after(NEW)}


async def test_after_a_crash_another_certificate_takes_the_place_of_the_one_whose_key_is_lost(
    aws: AWS,
) -> None:
    cloud, it, place = Cloud(aws), deployer(aws), stored()
    arn = cloud.upload("web", FORMER)
    cloud.classic(arn)
    # One of two had been switched.
    lost = cloud.upload(after(NEW), NEW)
    cloud.classic(lost, name="second")
    await it.deploy(place, material(NEWER))
    assert [cloud.of_classic(), cloud.of_classic(name="second")] == [after(NEWER)] * 2
    assert cloud.names() == {"web", after(NEWER)}
    assert (await it.present(place))[0] == NEWER.der
    await it.undo(place)
    assert [cloud.of_classic(), cloud.of_classic(name="second")] == ["web", "web"]


async def test_the_next_renewal_follows_under_the_same_name(aws: AWS) -> None:
    cloud, it = Cloud(aws), deployer(aws)
    cloud.classic(cloud.upload(after(FORMER), FORMER))
    place = stored(after(FORMER))
    await it.deploy(place, material(NEW))
    await it.forget(place)
    assert cloud.names() == {after(NEW)}
    assert cloud.of_classic() == after(NEW)


@pytest.mark.parametrize(
    ("service", "operation"),
    [
        ("iam", "ListServerCertificates"),
        ("iam", "UploadServerCertificate"),
        ("account", "ListRegions"),
        ("elasticloadbalancing", "SetLoadBalancerListenerSSLCertificate"),
    ],
)
async def test_a_right_that_is_missing_is_named_and_nothing_has_changed(
    aws: AWS, service: str, operation: str
) -> None:
    cloud, it, place = Cloud(aws), deployer(aws), stored()
    cloud.classic(cloud.upload("web", FORMER))
    aws.fail(service, operation, "AccessDenied", status=403, xml=service != "account")
    with pytest.raises(DeployFailed, match=operation) as failed:
        await it.deploy(place, material(NEW))
    assert failed.value.kind == "permission"
    assert cloud.of_classic() == "web"


async def test_only_named_regions_are_asked(aws: AWS) -> None:
    cloud = Cloud(aws)
    cloud.classic(cloud.upload("web", FORMER))
    aws.fail("account", "ListRegions", "AccessDeniedException", status=403)
    aws.fail("elasticloadbalancing", "DescribeLoadBalancers", "AccessDenied", xml=True, region="us-east-1")
    await deployer(aws, regions=(IRELAND,)).deploy(stored(), material(NEW))
    assert cloud.of_classic() == after(NEW)


async def test_what_is_still_in_use_is_not_deleted(aws: AWS) -> None:
    cloud, it, place = Cloud(aws), deployer(aws), stored()
    arn = cloud.upload("web", FORMER)
    cloud.classic(arn)
    await it.deploy(place, material(NEW))
    # Somebody puts it into use meanwhile.
    cloud.classic(arn, name="late")
    with pytest.raises(DeployFailed, match=r"web is kept: eu-west-1/elb/late/443 uses it"):
        await it.forget(place)
    assert cloud.names() == {"web", after(NEW)}


async def test_a_load_balancer_may_learn_late_of_a_new_certificate(
    aws: AWS, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certwatch.remediation.deployers.aws.access._PAUSE", 0.01)
    cloud, it = Cloud(aws), deployer(aws)
    cloud.classic(cloud.upload("web", FORMER))
    aws.fail(
        "elasticloadbalancing",
        "SetLoadBalancerListenerSSLCertificate",
        "CertificateNotFound",
        times=2,
        xml=True,
    )
    await it.deploy(stored(), material(NEW))
    assert cloud.of_classic() == after(NEW)


async def test_a_load_balancer_that_goes_away_meanwhile_stops_nothing(aws: AWS) -> None:
    cloud = Cloud(aws)
    arn = cloud.upload("web", FORMER)
    cloud.classic(arn)
    cloud.listener(arn)
    aws.fail("elasticloadbalancing", "DescribeListeners", "LoadBalancerNotFound", xml=True)
    await deployer(aws).deploy(stored(), material(NEW))
    assert cloud.of_classic() == after(NEW)


async def test_another_certificate_than_the_planned_one_stays(aws: AWS) -> None:
    cloud = Cloud(aws)
    cloud.upload("web", OTHER)
    with pytest.raises(DeployFailed, match="another certificate") as failed:
        await deployer(aws).deploy(stored(), material(NEW))
    assert failed.value.kind == "changed"
    assert cloud.names() == {"web"}


async def test_what_cloudfront_uses_is_left_to_people(aws: AWS) -> None:
    cloud = Cloud(aws)
    cloud.upload("web", FORMER, path="/cloudfront/")
    with pytest.raises(DeployFailed, match="by hand"):
        await deployer(aws).deploy(stored(), material(NEW))
    assert cloud.names() == {"web"}


async def test_tags_go_along(aws: AWS) -> None:
    cloud = Cloud(aws)
    arn = cloud.upload("web", FORMER)
    # moto keeps none.
    aws.rule(
        "iam",
        "GetServerCertificate",
        {
            "raw": '<GetServerCertificateResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
            "<GetServerCertificateResult><ServerCertificate><ServerCertificateMetadata><Path>/</Path>"
            f"<ServerCertificateName>web</ServerCertificateName><Arn>{arn}</Arn>"
            "<ServerCertificateId>ASCACKCEVSQ6C2EXAMPLE</ServerCertificateId>"
            "<UploadDate>2010-05-08T01:02:03Z</UploadDate></ServerCertificateMetadata>"
            f"<CertificateBody>{FORMER.pem.decode()}</CertificateBody>"
            "<Tags><member><Key>owner</Key><Value>shops</Value></member></Tags>"
            "</ServerCertificate></GetServerCertificateResult></GetServerCertificateResponse>",
            "type": "text/xml",
            "status": 200,
        },
        asked={"ServerCertificateName": "web"},
    )
    aws.calls()
    await deployer(aws).deploy(stored(), material(NEW))
    [uploaded] = [each["asked"] for each in aws.calls() if each["operation"] == "UploadServerCertificate"]
    assert (uploaded["Tags.member.1.Key"], uploaded["Tags.member.1.Value"]) == ("owner", "shops")


async def test_a_listener_goes_before_the_others(aws: AWS) -> None:
    cloud, it = Cloud(aws), deployer(aws)
    arn, other = cloud.upload("web", FORMER), cloud.upload("other", OTHER)
    cloud.classic(arn)
    cloud.classic(arn, name="second")
    beside, uri = cloud.listener(other, arn)
    classic = used_at(f"aws://{OWN}/{IRELAND}/elb/old/443", arn)
    named = used_at(f"{uri}#web", arn)
    for place in (classic, named):
        assert it.takes(place)
        assert await it.present(place) == (FORMER.der,)
        await it.deploy(place, material(NEW))
        assert (await it.present(place))[0] == NEW.der
    assert [cloud.of_classic(), cloud.of_classic(name="second")] == [after(NEW), "web"]
    assert cloud.of_listener(beside) == ["other", after(NEW)]
    for place in (named, classic):
        assert after(NEW) in cloud.names()
        await it.undo(place)
        await it.forget(place)
        assert await it.present(place) == (FORMER.der,)
    assert cloud.names() == {"web", "other"}


async def test_the_last_listener_that_has_the_new_one_lets_the_former_one_go(aws: AWS) -> None:
    cloud, it = Cloud(aws), deployer(aws)
    arn = cloud.upload("web", FORMER)
    places = []
    for name in ("old", "second"):
        cloud.classic(arn, name=name)
        places.append(used_at(f"aws://{OWN}/{IRELAND}/elb/{name}/443", arn))
    await it.deploy(places[0], material(NEW))
    await it.forget(places[0])
    assert cloud.names() == {"web", after(NEW)}
    await it.deploy(places[1], material(NEW))
    for place in places:
        await it.forget(place)
    assert cloud.names() == {after(NEW)}


async def test_a_listener_that_somebody_gave_another_certificate_keeps_it(aws: AWS) -> None:
    cloud, it = Cloud(aws), deployer(aws)
    arn = cloud.upload("web", FORMER)
    cloud.classic(cloud.upload("other", OTHER))
    with pytest.raises(DeployFailed, match="another certificate") as failed:
        await it.deploy(used_at(f"aws://{OWN}/{IRELAND}/elb/old/443", arn), material(NEW))
    assert failed.value.kind == "changed"
    assert cloud.of_classic() == "other"


async def test_what_uses_a_certificate_of_acm_goes_on_with_its_arn(aws: AWS) -> None:
    cloud, it = Cloud(aws), deployer(aws)
    arn = imported(aws.client("acm", IRELAND), FORMER)
    _, uri = cloud.listener(arn)
    place = used_at(uri, arn)
    assert it.takes(place)
    aws.calls()
    for _ in range(2):
        await it.deploy(place, material(NEW))
    assert aws.counted()["acm:ImportCertificate"] == 1
    assert (await it.present(place))[0] == NEW.der


@pytest.mark.parametrize(
    ("uri", "fact", "taken"),
    [
        (f"aws://{OWN}/global/iam/web", "", True),
        ("aws://222222222222/global/iam/web", "", False),
        (f"aws://{OWN}/{IRELAND}/elb/old/443", f"arn:aws:iam::{OWN}:server-certificate/web", True),
        (f"aws://{OWN}/{IRELAND}/elb/old/443", "", False),
        (f"aws://{OWN}/global/cloudfront/E1", f"arn:aws:iam::{OWN}:server-certificate/cloudfront/web", False),
        (f"aws://{OWN}/global/cloudfront/E1", f"arn:aws:acm:us-east-1:{OWN}:certificate/1234", True),
        (f"aws://{OWN}/{IRELAND}/elb", f"arn:aws:iam::{OWN}:server-certificate/web", False),
        ("aws://", "", False),
    ],
)
def test_only_what_can_be_changed_is_taken(uri: str, fact: str, taken: bool) -> None:
    it = AWSDeployer(AWSConfig(accounts=(OWN,)), DeployerContext(clock=system_clock))
    assert it.takes(used_at(uri, fact)) is taken
