"""Answers that are none of AWS's, with a status that says that all is well: a portal's page, half an answer, nothing.

botocore takes such a body for an answer without members, and an empty listing retires whatever was listed before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from certwatch.inventory import open_inventory
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import FakeClock, collect, make_certificate
from collectors.aws import AWSCollector
from tests.cli.stage import run, write_config
from tests.support.aws import AWS, OWN, imported, moto

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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AWS]:
    with moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def aws(server: AWS) -> AWS:
    server.reset()
    return server


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
