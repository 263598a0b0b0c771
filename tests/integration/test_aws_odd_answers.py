"""Answers that are none of AWS's, with a status that says that all is well: a portal's page, half an answer, nothing.

botocore takes such a body for an answer without members, and an empty listing retires whatever was listed before.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from certwatch.doors.aws import client as aws_client
from certwatch.inventory import open_inventory
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import FakeClock, collect, make_certificate
from collectors.aws import AWSCollector
from tests.cli.stage import run, write_config
from tests.support.aws import AWS, OWN, imported, role

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

WEB = make_certificate(key_kind="rsa", key_number=21)
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head><body><p>Sign in</p></body></html>"
#: The page is well-formed but for its first line.
BODIES = [PAGE, PAGE.partition(">")[2], '{"', ""]
#: certwatch's service; service and operation as requests are signed; what is chosen.
LISTINGS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("acm", "acm", "ListCertificates", {}),
    ("acm-pca", "acm-pca", "ListCertificateAuthorities", {}),
    ("elb", "elasticloadbalancing", "DescribeLoadBalancers", {}),
    ("elbv2", "elasticloadbalancing", "DescribeLoadBalancers", {}),
    ("api-gateway", "apigateway", "GetDomainNames", {}),
    ("api-gateway", "apigateway", "GetClientCertificates", {}),
    ("transfer", "transfer", "ListCertificates", {}),
    ("transfer", "transfer", "ListServers", {}),
    ("iot", "iot", "ListCertificates", {}),
    ("iot", "iot", "ListCACertificates", {}),
    ("rds", "rds", "DescribeDBInstances", {}),
    ("rds", "rds", "DescribeCertificates", {}),
    ("secrets", "secretsmanager", "ListSecrets", {"secrets": {"names": ["tls/"]}}),
    ("parameters", "ssm", "DescribeParameters", {"parameters": {"names": ["/tls"]}}),
    ("kms-signatures", "cloudtrail", "LookupEvents", {}),
    ("cloudfront", "cloudfront", "ListDistributions", {}),
    ("iam", "iam", "ListServerCertificates", {}),
]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def settings(aws: AWS, *services: str, **more: Any) -> dict[str, Any]:
    return aws.settings(services=list(services), regions=["us-east-1"], attempts=1, **more)


@pytest.mark.parametrize(
    ("service", "signed", "operation", "more"), LISTINGS, ids=[f"{each[0]}-{each[2]}" for each in LISTINGS]
)
async def test_what_is_no_listing_is_no_empty_listing(
    aws: AWS, service: str, signed: str, operation: str, more: dict[str, Any]
) -> None:
    region = "global" if service in ("cloudfront", "iam") else "us-east-1"
    for body in BODIES:
        aws.answer_raw(signed, operation, body)
        said = await collect(AWSCollector, settings(aws, service, **more))
        failed = [each for each in said if isinstance(each, Incomplete)]
        assert [each.scope for each in failed] == [f"{OWN}/{region}/{service}"], body
        assert failed[0].error.kind == "malformed", failed
        assert failed[0].error.message.isprintable()
        assert not [each for each in said if isinstance(each, Observation)]


async def test_tags_that_cannot_be_read_are_not_none(aws: AWS) -> None:
    for body in BODIES:
        aws.answer_raw("tagging", "GetResources", body)
        said = await collect(AWSCollector, settings(aws, "acm"))
        assert [each.scope for each in said if isinstance(each, Incomplete)] == [f"{OWN}/us-east-1/tags"], (
            body
        )


@pytest.mark.parametrize("body", [*BODIES, "{}", '{"Regions": []}'])
async def test_no_account_is_without_regions(aws: AWS, body: str) -> None:
    """A scan that looks at no region is complete, and would retire everything."""
    aws.answer_raw("account", "ListRegions", body)
    with pytest.raises(CollectError, match="ListRegions"):
        await collect(AWSCollector, aws.settings(services=["acm"], attempts=1))


@pytest.mark.parametrize("body", [*BODIES, "{}", '{"Accounts": []}'])
async def test_no_organisation_is_without_accounts(aws: AWS, body: str) -> None:
    aws.answer_raw("organizations", "ListAccounts", body)
    with pytest.raises(CollectError, match="ListAccounts"):
        await collect(
            AWSCollector,
            aws.settings(services=["acm"], organization={"role": "certwatch"}, attempts=1),
        )


def users_of(aws: AWS) -> str:
    """A load balancer and what it shows, the ARN."""
    arn = imported(aws.client("acm", "us-east-1"), WEB)
    aws.client("elb", "us-east-1").create_load_balancer(
        LoadBalancerName="old",
        Listeners=[
            {"Protocol": "HTTPS", "LoadBalancerPort": 443, "InstancePort": 80, "SSLCertificateId": arn}
        ],
        AvailabilityZones=["us-east-1a"],
    )
    return f"aws://{OWN}/us-east-1/elb/old/443"


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        ({"code": "AccessDeniedException", "status": 400}, "permission"),
        ({"code": "ThrottlingException", "status": 400}, "other"),
        ({"code": "InternalFailure", "status": 500}, "other"),
        ({"answer": {"Certificate": "-----BEGIN CERTIFICATE-----\nAAAA"}}, "malformed"),
        ({"answer": {"Certificate": ""}}, "malformed"),
    ],
    ids=["denied", "throttled", "broken", "half a certificate", "none"],
)
def test_a_certificate_that_cannot_be_fetched_stays_where_it_is_used(
    aws: AWS, tmp_path: Path, refusal: dict[str, Any], kind: str
) -> None:
    """The store is not looked at itself, so that nobody else says it."""
    place, clock = users_of(aws), FakeClock()
    config = write_config(
        tmp_path,
        yaml.safe_dump(
            {"collectors": [{"name": "cloud", "kind": "aws", **settings(aws, "elb")}], "exporters": []}
        ),
    )
    run("-c", config, "collect", clock=clock)
    aws.rule("acm", "GetCertificate", refusal)
    clock.advance(hours=1)
    run("-c", config, "collect", clock=clock)
    reader = open_inventory(f"sqlite://{tmp_path}/inventory.db").reader()
    try:
        served = reader.served(LocationURI(place))
        assert served is not None
        assert [each.der for each in served.chain][:1] == [WEB.der]
        assert served.error is not None
        assert served.error.kind == kind
        assert all(each.ended_at is None for each in reader.history(LocationURI(place)))
    finally:
        reader.close()


async def told(aws: AWS, *services: str, **more: Any) -> tuple[str, str]:
    """The one error there is: kind and message."""
    try:
        said = await collect(AWSCollector, settings(aws, *services, **more))
    except CollectError as error:
        return error.kind, error.message
    (failed,) = {each.error for each in said if isinstance(each, Incomplete)} | {
        each.error for each in said if isinstance(each, Observation) and each.error is not None
    }
    return failed.kind, failed.message


async def test_an_answer_that_breaks_off_is_not_repeated_in_messages(aws: AWS) -> None:
    """It may be the one with the secret in it."""
    aws.answer_raw("secretsmanager", "GetSecretValue", '{"SecretString": "hunter2')
    aws.answer(
        "secretsmanager",
        "ListSecrets",
        {"SecretList": [{"ARN": "arn:aws:secretsmanager:us-east-1:1:secret:tls/a", "Name": "tls/a"}]},
    )
    kind, message = await told(aws, "secrets", secrets={"names": ["tls/"]})
    assert (kind, "hunter2" in message) == ("malformed", False)
    credentials = "<AssumeRoleResponse><AssumeRoleResult><Credentials><SecretAccessKey>hunter2"
    aws.answer_raw("sts", "AssumeRole", credentials, type="text/xml")
    kind, message = await told(aws, "acm", roles=[{"role": role("222222222222")}])
    assert (kind, "hunter2" in message) == ("malformed", False)
    assert "222222222222" in message


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        ("InvalidSignatureException", 400, "Signature expired: 20261125T000000Z is now earlier than …"),
        ("SignatureDoesNotMatch", 403, "Signature not yet current: 20261127T000000Z is still later than …"),
        (
            "RequestTimeTooSkewed",
            403,
            "The difference between the request time and the current time is too large.",
        ),
        ("RequestExpired", 400, "Request has expired."),
    ],
)
async def test_a_clock_that_is_wrong_is_said(aws: AWS, code: str, status: int, text: str) -> None:
    aws.rule("acm", "ListCertificates", {"code": code, "status": status, "message": text})
    kind, message = await told(aws, "acm")
    assert kind == "permission"
    assert message.endswith("Set the clock of this machine (NTP)")


async def test_credentials_that_end_in_the_middle_are_said_and_what_was_seen_is_kept(aws: AWS) -> None:
    for number in range(2):
        imported(aws.client("acm", "us-east-1"), make_certificate(key_kind="rsa", key_number=21 + number))
    aws.fail("iot", "ListCACertificates", "ExpiredTokenException")
    said = await collect(AWSCollector, settings(aws, "acm", "iot"))
    assert len([each for each in said if isinstance(each, Observation)]) == 2
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == f"{OWN}/us-east-1/iot"
    assert failed.error.kind == "permission"
    assert failed.error.message.endswith("Check the credentials")


async def test_a_role_that_is_not_refused_but_throttled_is_no_matter_of_its_trust(aws: AWS) -> None:
    aws.fail("sts", "AssumeRole", "Throttling", status=400, xml=True)
    kind, message = await told(aws, "acm", roles=[{"role": role("222222222222")}])
    assert kind == "other"
    assert "throttled" in message
    assert "trust policy" not in message


async def test_a_listing_in_a_circle_is_given_up(aws: AWS) -> None:
    aws.answer("iot", "ListCertificates", {"certificates": [], "nextMarker": "again"})
    kind, message = await told(aws, "iot")
    assert (kind, "twice" in message) == ("malformed", True)


async def test_a_listing_without_end_is_given_up(aws: AWS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page names another one: of CloudTrail's events there are always more."""
    monkeypatch.setattr(aws_client, "MAX_PAGES", 3)
    for asked, following in ((None, "1"), ("1", "2"), ("2", "3"), ("3", "4")):
        answer = {"Events": [], "NextToken": following}
        if asked is None:
            aws.answer("cloudtrail", "LookupEvents", answer)
        else:
            aws.answer("cloudtrail", "LookupEvents", answer, asked={"NextToken": asked})
    kind, message = await told(aws, "kms-signatures")
    assert (kind, "more than 3 pages" in message) == ("malformed", True)
