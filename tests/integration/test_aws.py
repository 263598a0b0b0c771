"""The aws collector with real boto3 against moto's server, over HTTP: several accounts, several regions."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from certwatch.inventory import open_inventory
from certwatch.model.observation import Incomplete, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectError
from certwatch.plugins.testing import EPOCH, FakeClock, collect, make_ca, make_certificate
from collectors.aws import AWSCollector
from collectors.aws.services import acm as acm_service
from tests.cli.stage import run, write_config
from tests.support.aws import AWS, OWN, imported, role

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

OTHER = "222222222222"
ROOT = make_ca("Cloud Root", key_number=140)
CA = make_ca("Cloud CA", issuer=ROOT, key_number=141)
WEB = make_certificate(issuer=CA, key_kind="rsa", key_number=21)
NEXT = make_certificate(issuer=CA, key_kind="rsa", key_number=22, not_after=EPOCH.replace(year=2027))
SHOP = make_certificate(names=["dns:shop.example.com"], issuer=CA, key_kind="ec384", key_number=23)


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The work is done in threads: one kind of event loop is enough."""
    return "asyncio", {"use_uvloop": True}


async def look(aws: AWS, *services: str, **more: Any) -> dict[str, Observation]:
    """Everything seen, by location; nothing may have failed."""
    said = await collect(AWSCollector, aws.settings(services=list(services), **more))
    assert not [each for each in said if isinstance(each, Incomplete)]
    return {each.location: each for each in said if isinstance(each, Observation)}


def configured(aws: AWS, folder: Path, services: str = "[acm]", more: str = "") -> Path:
    return write_config(
        folder,
        "collectors:\n"
        f"  - {{name: cloud, kind: aws, endpoint_url: '{aws.url}', rate: 10000, attempts: 3, services: {services}{more}}}\n",
    )


def live(config: Path) -> dict[str, Served]:
    reader = open_inventory(f"sqlite://{config.parent}/inventory.db").reader()
    try:
        return {each.location.uri: each for each in reader.live()}
    finally:
        reader.close()


def places(config: Path) -> list[str]:
    return sorted(live(config))


async def test_acm_shows_every_kind_of_key_with_account_region_use_and_owner(aws: AWS) -> None:
    store = aws.client("acm", "eu-west-1")
    web = imported(store, WEB, {"Owner": "payments", "Environment": "prod", "Secret": "no label"})
    shop = imported(aws.client("acm", account=OTHER), SHOP)
    found = await look(aws, "acm", own_account=True, roles=[{"role": role(OTHER), "labels": {"unit": "b"}}])
    seen = found[f"aws://{OWN}/eu-west-1/acm/{web.rpartition('/')[2]}"]
    assert seen.chain[:3] == (WEB.der, CA.der, ROOT.der)
    assert seen.facts["in_use"] is False
    assert seen.facts["aws_status"] == "ISSUED"
    assert seen.labels == {
        "account": OWN,
        "region": "eu-west-1",
        "owner": "payments",
        "environment": "prod",
    }
    assert seen.scope == f"{OWN}/eu-west-1/acm"
    other = found[f"aws://{OTHER}/us-east-1/acm/{shop.rpartition('/')[2]}"]
    assert other.chain[0] == SHOP.der
    assert other.labels == {"account": OTHER, "region": "us-east-1", "unit": "b"}
    assert len(found) == 2


def test_every_kind_of_key_and_origin_that_acm_knows_is_asked_for() -> None:
    """What is not asked for is silently left out: when botocore learns a new one, this fails."""
    model = boto3.client("acm", region_name="us-east-1").meta.service_model
    assert set(acm_service.KEY_TYPES) == set(model.shape_for("KeyAlgorithm").enum)
    assert set(acm_service.KEY_PAIR_ORIGINS) == set(model.shape_for("CertificateKeyPairOrigin").enum)


async def test_the_role_is_taken_with_its_external_id(aws: AWS) -> None:
    await look(aws, "acm", roles=[{"role": role(OTHER), "external_id": "from-the-other-side"}])
    calls = aws.calls()
    (assumed,) = [each for each in calls if each["operation"] == "AssumeRole"]
    assert assumed["asked"]["ExternalId"] == "from-the-other-side"
    assert {each["account"] for each in calls if each["service"] == "acm"} == {OTHER}


async def test_listings_come_in_pages(aws: AWS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acm_service, "PAGE", 2)
    store = aws.client("acm", "us-east-1")
    for number in range(5):
        imported(store, make_certificate(names=[f"dns:{number}.example.com"], key_number=21))
    aws.calls()
    assert len(await look(aws, "acm", regions=["us-east-1"])) == 5
    assert aws.counted()["acm:ListCertificates"] == 3


async def test_a_service_that_is_denied_is_one_error_and_the_rest_goes_on(aws: AWS) -> None:
    imported(aws.client("acm", "us-east-1"), WEB)
    aws.fail("acm", "ListCertificates", "AccessDeniedException", region="eu-west-1")
    said = await collect(AWSCollector, aws.settings(services=["acm"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == f"{OWN}/eu-west-1/acm"
    assert failed.error.kind == "permission"
    assert failed.error.message == (
        f"test: account {OWN}/eu-west-1: acm: ListCertificates: AccessDeniedException: by order of the test. Grant it (deploy/aws/)"
    )
    assert len([each for each in said if isinstance(each, Observation)]) == 1


async def test_throttling_is_waited_out(aws: AWS) -> None:
    imported(aws.client("acm", "us-east-1"), WEB)
    aws.fail("acm", "DescribeCertificate", "ThrottlingException", times=2)
    assert len(await look(aws, "acm", regions=["us-east-1"])) == 1


async def test_an_account_that_cannot_be_had_is_named_and_the_others_are_looked_at(aws: AWS) -> None:
    imported(aws.client("acm", "us-east-1"), WEB)
    aws.fail("sts", "AssumeRole", "AccessDenied", status=403, xml=True)
    said = await collect(
        AWSCollector, aws.settings(services=["acm"], own_account=True, roles=[{"role": role(OTHER)}])
    )
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == OTHER
    assert failed.error.message.startswith(f"test: account {OTHER}: the role cannot be assumed: AccessDenied")
    assert len([each for each in said if isinstance(each, Observation)]) == 1


async def test_nothing_at_all_is_a_failed_scan(aws: AWS) -> None:
    aws.fail("sts", "GetCallerIdentity", "InvalidClientTokenId", status=403, xml=True)
    with pytest.raises(CollectError, match="InvalidClientTokenId"):
        await collect(AWSCollector, aws.settings(services=["acm"]))


def test_collect_fills_the_inventory_and_retires_what_was_removed(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path)
    store = aws.client("acm", "eu-west-1")
    kept, removed = imported(store, WEB), imported(store, SHOP)
    clock = FakeClock()
    assert run("-c", config, "collect", clock=clock).status in (0, 1)
    assert places(config) == sorted(
        f"aws://{OWN}/eu-west-1/acm/{each.rpartition('/')[2]}" for each in (kept, removed)
    )
    store.delete_certificate(CertificateArn=removed)
    clock.advance(hours=1)
    assert run("-c", config, "collect", clock=clock).status in (0, 1)
    assert places(config) == [f"aws://{OWN}/eu-west-1/acm/{kept.rpartition('/')[2]}"]


def test_a_region_that_fails_retires_nothing(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path)
    ireland, virginia = aws.client("acm", "eu-west-1"), aws.client("acm", "us-east-1")
    kept, removed = imported(ireland, WEB), imported(virginia, SHOP)
    clock = FakeClock()
    run("-c", config, "collect", clock=clock)
    ireland.delete_certificate(CertificateArn=kept)
    virginia.delete_certificate(CertificateArn=removed)
    aws.fail("acm", "ListCertificates", "InternalFailure", status=500, region="eu-west-1")
    clock.advance(hours=1)
    ran = run("-c", config, "collect", "--json", clock=clock)
    assert json.loads(ran.out)["scans"][0]["status"] == "partial"
    assert places(config) == [f"aws://{OWN}/eu-west-1/acm/{kept.rpartition('/')[2]}"]


def test_an_account_that_fails_retires_nothing(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path, more=f", own_account: true, roles: [{{role: '{role(OTHER)}'}}]")
    imported(aws.client("acm", "eu-west-1"), WEB)
    imported(aws.client("acm", "eu-west-1", OTHER), SHOP)
    clock = FakeClock()
    run("-c", config, "collect", clock=clock)
    before = places(config)
    assert len(before) == 2
    aws.fail("sts", "AssumeRole", "AccessDenied", status=403, xml=True)
    clock.advance(hours=1)
    run("-c", config, "collect", clock=clock)
    assert places(config) == before


def test_only_what_changed_is_described_and_fetched(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path, more=", regions: [eu-west-1]")
    store = aws.client("acm", "eu-west-1")
    arns = [
        imported(store, make_certificate(names=[f"dns:{number}.example.com"], key_number=21))
        for number in range(5)
    ]
    clock = FakeClock()
    aws.calls()
    run("-c", config, "collect", clock=clock)
    first = aws.counted()
    assert (first["acm:DescribeCertificate"], first["acm:GetCertificate"]) == (5, 5)
    assert first["acm:ListTagsForCertificate"] == 0
    imported(store, NEXT, arn=arns[2])
    aws.calls()
    # Five minutes: that one of five has its daily turn just now is unlikely, and allowed for.
    clock.advance(minutes=5)
    run("-c", config, "collect", clock=clock)
    second = aws.counted()
    assert second["acm:GetCertificate"] == 1
    assert 1 <= second["acm:DescribeCertificate"] <= 2
    assert second["acm:ListCertificates"] == 1
    changed = live(config)[f"aws://{OWN}/eu-west-1/acm/{arns[2].rpartition('/')[2]}"]
    assert changed.leaf is not None
    assert changed.leaf.der == NEXT.der


def test_no_more_is_asked_than_is_needed(aws: AWS, tmp_path: Path) -> None:
    """Of several accounts and regions: a list a region, two requests for each certificate that is new, none for the others."""
    more = f", own_account: true, roles: [{{role: '{role(OTHER)}'}}], reconcile: 36500d"
    config = configured(aws, tmp_path, more=more)
    for account in (OWN, OTHER):
        for region in ("us-east-1", "eu-west-1"):
            store = aws.client("acm", region, account)
            for number in range(3):
                imported(store, make_certificate(names=[f"dns:{number}.example.com"], key_number=21))
    clock = FakeClock()
    always = {
        "sts:GetCallerIdentity": 2,
        "sts:AssumeRole": 1,
        "account:ListRegions": 2,
        "acm:ListCertificates": 4,
        "tagging:GetResources": 4,
    }
    aws.calls()
    run("-c", config, "collect", clock=clock)
    assert aws.counted() == {**always, "acm:DescribeCertificate": 12, "acm:GetCertificate": 12}
    clock.advance(minutes=5)
    run("-c", config, "collect", clock=clock)
    assert aws.counted() == always
    assert len(places(config)) == 12


def test_a_certificate_is_described_anew_once_in_a_while(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path, more=", regions: [eu-west-1]")
    store = aws.client("acm", "eu-west-1")
    for number in range(5):
        imported(store, make_certificate(names=[f"dns:{number}.example.com"], key_number=21))
    clock = FakeClock()
    run("-c", config, "collect", clock=clock)
    aws.calls()
    for _ in range(6):
        clock.advance(hours=4)
        run("-c", config, "collect", clock=clock)
    counted = aws.counted()
    assert counted["acm:DescribeCertificate"] == 5
    assert counted["acm:GetCertificate"] == 0


def test_labels_stay_while_tags_cannot_be_read(aws: AWS, tmp_path: Path) -> None:
    config = configured(aws, tmp_path, more=", regions: [eu-west-1]")
    imported(aws.client("acm", "eu-west-1"), WEB, {"owner": "payments"})
    clock = FakeClock()
    run("-c", config, "collect", clock=clock)
    aws.fail("tagging", "GetResources", "AccessDeniedException")
    clock.advance(minutes=5)
    ran = run("-c", config, "collect", "--json", clock=clock)
    assert json.loads(ran.out)["scans"][0]["status"] == "partial"
    (served,) = live(config).values()
    assert served.location.labels["owner"] == "payments"
