"""What every collector of a cloud promises, whichever it is: removed is retired, failed is not, and any answer is borne."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from certwatch.inventory import open_inventory
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins import registry
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import FakeClock, make_certificate
from tests.cli.stage import run, write_config
from tests.collectors import test_azure, test_cloudflare, test_fastly, test_gcp, test_json_source
from tests.support.json_server import json_server
from tests.support.rest_server import Answer, Asked, Reply, RestServer, rest_server
from tests.support.vault import FakeVault
from tests.support.vault_kv import FakeKV

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass(frozen=True, kw_only=True)
class Cloud:
    kind: str
    api: Callable[[RestServer], Answer]
    #: How the collector finds the server.
    address: str
    settings: dict[str, Any]
    #: The listing that gets empty, and how that looks.
    listing: str
    empty: Any
    #: What is gone then.
    gone: str


def partner(running: RestServer) -> Answer:
    def answer(asked: Asked) -> Reply:
        return Reply(body=test_json_source.LISTED)

    return answer


CLOUDS = [
    Cloud(
        kind="gcp",
        api=test_gcp.google,
        address="endpoint",
        settings={"projects": ["shop-prod"], "services": ["compute"]},
        listing="/compute/v1/projects/shop-prod/aggregated/sslCertificates",
        empty={"items": {}},
        gone="gcp://shop-prod/global/compute/classic",
    ),
    Cloud(
        kind="azure",
        api=test_azure.azure,
        address="endpoint",
        settings={"services": ["keyvault"], "subscriptions": [test_azure.SUB]},
        listing="/certificates",
        empty={"value": []},
        gone=f"azure://{test_azure.SUB}/keyvault/kv/web",
    ),
    Cloud(
        kind="cloudflare",
        api=test_cloudflare.api,
        address="endpoint",
        settings={"token": "good", "services": ["origin-pulls"]},
        listing="/zones/z1/origin_tls_client_auth",
        empty={"success": True, "errors": [], "result": [], "result_info": {"page": 1, "total_pages": 0}},
        gone="cloudflare://example.com/origin-pulls/a1",
    ),
    Cloud(
        kind="fastly",
        api=test_fastly.api,
        address="endpoint",
        settings={"token": "good", "services": ["certificates"]},
        listing="/tls/certificates",
        empty={"data": [], "links": {}},
        gone="fastly://cust1/certificates/c1",
    ),
    Cloud(
        kind="json",
        api=partner,
        address="url",
        settings=test_json_source.PATHS,
        listing="/",
        empty={"data": {"certificates": []}},
        gone="json://cloud/web",
    ),
]


@pytest.fixture(params=CLOUDS, ids=lambda each: each.kind)
def cloud(request: pytest.FixtureRequest) -> Cloud:
    return cast("Cloud", request.param)


@pytest.fixture
def server(cloud: Cloud) -> Iterator[RestServer]:
    with rest_server(cloud.api) as running:
        yield running


@pytest.fixture
def settings(cloud: Cloud, server: RestServer, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "token").write_text("good\n")
    token = {"token_file": str(tmp_path / "token")} if cloud.kind in ("gcp", "azure") else {}
    url = server.url + ("/" if cloud.address == "url" else "")
    return {**cloud.settings, cloud.address: url, **token, "rate": 10_000, "attempts": 1}


def configured(cloud: Cloud, settings: dict[str, Any], folder: Path) -> Path:
    given = {"name": "cloud", "kind": cloud.kind, **settings}
    return write_config(folder, yaml.safe_dump({"collectors": [given], "exporters": []}))


def places(config: Path) -> set[str]:
    reader = open_inventory(f"sqlite://{config.parent}/inventory.db").reader()
    try:
        return {each.location.uri for each in reader.live()}
    finally:
        reader.close()


def test_what_was_removed_is_retired_and_what_fails_is_not(
    cloud: Cloud, server: RestServer, settings: dict[str, Any], tmp_path: Path
) -> None:
    config, clock = configured(cloud, settings, tmp_path), FakeClock()

    def collected() -> str:
        clock.advance(hours=1)
        ran = run("-c", config, "collect", "--json", clock=clock)
        return str(json.loads(ran.out)["scans"][0]["status"])

    assert collected() == "complete"
    before = places(config)
    assert cloud.gone in before
    for refusal in (
        Reply(status=403, body={"error": {"message": "denied"}}),
        Reply(status=503, body=b"<html>"),
        Reply(body=b"{"),
        Reply(body=b""),
        Reply(body={"hello": "sign in"}),
        Reply(body=[1]),
        Reply(body={"error": "none of it"}, status=404),
    ):
        server.instead[cloud.listing] = refusal
        assert collected() in ("partial", "failed"), refusal
        assert places(config) == before, refusal
    server.instead[cloud.listing] = Reply(body=cloud.empty)
    assert collected() == "complete"
    assert cloud.gone not in places(config)


@pytest.mark.parametrize(
    ("cloud", "given", "listing", "empty", "message"),
    [
        (CLOUDS[0], {"projects": ["*"]}, "/v3/projects:search", {}, "sees no project at all"),
        (CLOUDS[1], {"subscriptions": None}, "/subscriptions", {"value": []}, "sees no subscription at all"),
        (CLOUDS[2], {}, "/zones", CLOUDS[2].empty, "sees no active zone at all"),
    ],
    ids=["gcp", "azure", "cloudflare"],
)
async def test_credentials_that_see_nothing_any_more_retire_nothing(
    server: RestServer,
    cloud: Cloud,
    settings: dict[str, Any],
    given: dict[str, Any],
    listing: str,
    empty: Any,
    message: str,
) -> None:
    """Clouds answer an empty list to who has lost a role, and a complete scan of nothing retires everything."""
    server.instead[listing] = Reply(body=empty)
    with pytest.raises(CollectError, match=message) as raised:
        [each async for each in made(cloud, {**settings, **given}).collect()]
    assert raised.value.kind == "permission"


NAMES = ("value", "items", "data", "result", "certificates", "projects", "caPools")
ODD: list[Any] = [
    None,
    [],
    "text",
    [[]],
    *(dict.fromkeys(NAMES, odd) for odd in ([None], {"a": 1}, "x", 7)),
]


def made(cloud: Cloud, settings: dict[str, Any]) -> Any:
    collector = registry.load("collectors", cloud.kind)
    config = collector.Config.model_validate(settings)
    return collector("cloud", config, CollectorContext(clock=FakeClock()))


async def test_any_answer_is_borne(cloud: Cloud, server: RestServer, settings: dict[str, Any]) -> None:
    """Each answer in turn is another than it should be: that is an error of the scan, or of a part of it."""
    collector = made(cloud, settings)
    [each async for each in collector.collect()]
    paths = list(dict.fromkeys(server.paths()))
    for path in paths:
        for odd in ODD:
            server.instead = {path: Reply(body=odd)}
            try:
                said = [each async for each in made(cloud, settings).collect()]
            except CollectError as error:
                assert error.message.startswith("cloud: ")
                assert error.message.isprintable()
            else:
                assert all(isinstance(each, Observation | Incomplete) for each in said)
                assert all(each.error.message.isprintable() for each in said if isinstance(each, Incomplete))


async def test_closed_early_it_lets_go_at_once(
    cloud: Cloud, server: RestServer, settings: dict[str, Any]
) -> None:
    stream = cast("AsyncGenerator[Observation, None]", made(cloud, settings).collect())
    async with asyncio.timeout(30):
        await anext(stream)
        begun = time.monotonic()
        await stream.aclose()
        # A second is promised; the machine may be slow.
        assert time.monotonic() - begun < 15
        waiting = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        assert not [each for each in waiting if "all_of_them" in repr(each)]


async def test_any_answer_of_vault_is_borne() -> None:
    fake, instead = FakeVault(), dict[str, Any]()
    fake.issue("one.example")

    def answer(asked: Any) -> Any:
        path = asked.path.removeprefix("/v1/")
        return (200, instead[path]) if path in instead else fake.answer(asked)

    collector = registry.load("collectors", "vault")
    with json_server(answer) as server:
        config = collector.Config.model_validate({"url": server.url, "token": fake.root})
        for path in ("sys/mounts", "pki/issuers", "pki/issuer/1-2/json", "pki/config/crl", "pki/certs"):
            for odd in ODD:
                instead.clear()
                instead[path] = {"data": odd} if odd != "text" else odd
                looking = collector("cloud", config, CollectorContext(clock=FakeClock()))
                try:
                    said = [each async for each in looking.collect()]
                except CollectError as error:
                    assert error.message.isprintable()
                else:
                    assert all(isinstance(each, Observation | Incomplete) for each in said)


async def test_any_answer_of_vault_about_secrets_is_borne() -> None:
    fake = FakeKV()
    fake.put("a", **{"tls.crt": make_certificate().pem.decode()})
    collector = registry.load("collectors", "vault")
    with json_server(fake.answer) as server:
        keys = {"url": server.url, "token": fake.root, "mounts": [], "kv": [{}]}
        config = collector.Config.model_validate(keys)
        for path in ("sys/internal/ui/mounts/secret", "secret/metadata", "secret/data/a"):
            for odd in ODD:
                fake.instead = {path: (200, {"data": odd} if odd != "text" else odd)}
                looking = collector("cloud", config, CollectorContext(clock=FakeClock()))
                said = [each async for each in looking.collect()]
                assert all(isinstance(each, Observation | Incomplete) for each in said)
                failed = [each for each in said if isinstance(each, Incomplete)]
                assert all(each.error.message.isprintable() for each in failed)
                # Nothing of this kind says that there are no secrets.
                assert failed or odd not in (None, [], "text")
