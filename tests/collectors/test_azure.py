"""The azure collector against a local server that follows the published REST schemas: paths, versions, pages, refusals."""

import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectError, CollectorContext
from certwatch.plugins.testing import EPOCH, FakeClock, collect, make_ca, make_certificate
from collectors.azure import AzureCollector, AzureConfig
from collectors.azure.subscription import scope_of
from tests.support.rest_server import Answer, Asked, Reply, RestServer, paged, rest_server

pytestmark = pytest.mark.anyio

SUB = "11111111-2222-3333-4444-555555555555"
OFF = "99999999-2222-3333-4444-555555555555"
ROOT = make_ca("Azure Root", key_number=160)
WEB = make_certificate(issuer=ROOT, key_number=21)
BEFORE = make_certificate(issuer=ROOT, not_after=EPOCH.replace(day=20), key_number=22)
SHOP = make_certificate(names=["dns:shop.example.com"], issuer=ROOT, key_number=23)
GROUP = f"/subscriptions/{SUB}/resourceGroups/web"
GATEWAY = f"{GROUP}/providers/Microsoft.Network/applicationGateways/front"
PROFILE = f"{GROUP}/providers/Microsoft.Cdn/profiles/afd"

#: By path: the API versions that have it, as the REST reference lists them.
VERSIONS = {
    r"/subscriptions": "2022-12-01",
    r"/subscriptions/[^/]+/providers/Microsoft.KeyVault/vaults": "2023-07-01",
    r"/subscriptions/[^/]+/providers/Microsoft.Web/(sites|certificates)": "2023-12-01",
    r"/subscriptions/[^/]+/providers/Microsoft.Network/applicationGateways": "2023-11-01",
    r"/subscriptions/[^/]+/providers/Microsoft.Cdn/profiles": "2023-05-01",
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Cdn/profiles/[^/]+/(secrets|customDomains)": "2023-05-01",
    r"/(certificates|secrets)(/.*)?": "7.4",
}


def b64(data: bytes) -> str:
    return b64encode(data).decode()


def azure(server: RestServer) -> Answer:
    def certificate(
        name: str, version: str, der: bytes, *, enabled: bool = True, created: int = 1
    ) -> dict[str, Any]:
        return {
            "id": f"{server.url}/certificates/{name}/{version}",
            "x5t": f"x5t-{version}",
            "cer": b64(der),
            "attributes": {"enabled": enabled, "created": created, "updated": created},
            "tags": {"Owner": "payments"},
            "policy": {
                "issuer": {"name": "DigiCert"},
                "lifetime_actions": [
                    {"trigger": {"days_before_expiry": 30}, "action": {"action_type": "AutoRenew"}}
                ],
            },
        }

    web = [
        certificate("web", "v2", WEB.der, created=2),
        certificate("web", "v1", BEFORE.der, created=1),
        certificate("web", "v0", SHOP.der, enabled=False, created=0),
    ]
    waiting = certificate("waiting", "w1", b"")
    lists: dict[str, list[dict[str, Any]]] = {
        "/subscriptions": [
            {"subscriptionId": SUB, "displayName": "Shop", "state": "Enabled"},
            {"subscriptionId": OFF, "displayName": "Off", "state": "Disabled"},
        ],
        f"/subscriptions/{SUB}/providers/Microsoft.KeyVault/vaults": [
            {
                "id": f"{GROUP}/providers/Microsoft.KeyVault/vaults/kv",
                "name": "kv",
                "location": "westeurope",
                "tags": {"environment": "prod", "owner": "platform"},
                "properties": {"vaultUri": f"{server.url}/"},
            }
        ],
        "/certificates": [
            {
                "id": f"{server.url}/certificates/web",
                **{key: web[0][key] for key in ("x5t", "attributes", "tags")},
            },
            {"id": f"{server.url}/certificates/waiting", "attributes": {"enabled": True}},
        ],
        "/certificates/web/versions": [
            {key: each[key] for key in ("id", "x5t", "attributes")} for each in web
        ],
        "/certificates/waiting/versions": [{"id": waiting["id"], "attributes": waiting["attributes"]}],
        "/secrets": [
            {"id": f"{server.url}/secrets/web", "contentType": "application/x-pkcs12", "managed": True},
            {
                "id": f"{server.url}/secrets/pem",
                "contentType": "application/x-pem-file",
                "attributes": {"updated": 1},
            },
            {"id": f"{server.url}/secrets/password", "contentType": "text/plain"},
        ],
        f"/subscriptions/{SUB}/providers/Microsoft.Web/sites": [
            {
                "id": f"{GROUP}/providers/Microsoft.Web/sites/shop",
                "name": "shop",
                "properties": {
                    "hostNameSslStates": [
                        {"name": "shop.example.com", "sslState": "SniEnabled", "thumbprint": "ab12"},
                        {"name": "shop.azurewebsites.net", "sslState": "Disabled"},
                    ]
                },
            }
        ],
        f"/subscriptions/{SUB}/providers/Microsoft.Web/certificates": [
            {
                "id": f"{GROUP}/providers/Microsoft.Web/certificates/shop",
                "name": "shop",
                "location": "West Europe",
                "tags": {"team": "shop"},
                "properties": {
                    "thumbprint": "AB12",
                    "cerBlob": b64(SHOP.der),
                    "hostNames": ["shop.example.com"],
                },
            }
        ],
        f"/subscriptions/{SUB}/providers/Microsoft.Network/applicationGateways": [
            {
                "id": GATEWAY,
                "name": "front",
                "location": "westeurope",
                "tags": {"owner": "edge"},
                "properties": {
                    "sslCertificates": [
                        {
                            "name": "web",
                            "id": f"{GATEWAY}/sslCertificates/web",
                            "properties": {
                                # As Azure gives it: PKCS #7 in base64.
                                "publicCertData": b64(
                                    pkcs7.serialize_certificates(
                                        [WEB.certificate, ROOT.certificate], Encoding.DER
                                    )
                                )
                            },
                        }
                    ],
                    "trustedRootCertificates": [
                        {"name": "root", "id": f"{GATEWAY}/r", "properties": {"data": b64(ROOT.der)}}
                    ],
                    "frontendPorts": [{"id": f"{GATEWAY}/frontendPorts/p", "properties": {"port": 8443}}],
                    "httpListeners": [
                        {
                            "properties": {
                                "hostNames": ["www.example.com", "*.example.com"],
                                "frontendPort": {"id": f"{GATEWAY}/FrontendPorts/p"},
                                "sslCertificate": {"id": f"{GATEWAY}/sslCertificates/web"},
                            }
                        }
                    ],
                },
            }
        ],
        f"/subscriptions/{SUB}/providers/Microsoft.Cdn/profiles": [
            {
                "id": PROFILE,
                "name": "afd",
                "sku": {"name": "Standard_AzureFrontDoor"},
                "tags": {"owner": "cdn"},
            },
            {"id": f"{PROFILE}-classic", "name": "classic", "sku": {"name": "Standard_Microsoft"}},
        ],
        f"{PROFILE}/secrets": [
            {
                "id": f"{PROFILE}/secrets/s",
                "properties": {"parameters": {"thumbprint": "CD", "expirationDate": "2027-01-01"}},
            }
        ],
        f"{PROFILE}/customDomains": [
            {
                "id": f"{PROFILE}/customDomains/d",
                "name": "d",
                "properties": {
                    "hostName": "cdn.example.com",
                    "domainValidationState": "TimedOut",
                    "tlsSettings": {
                        "certificateType": "ManagedCertificate",
                        "secret": {"id": f"{PROFILE}/Secrets/s"},
                    },
                },
            }
        ],
    }
    single = {
        "/certificates/web": web[0],
        "/certificates/web/v1": web[1],
        "/certificates/waiting": waiting,
        "/secrets/pem": {"value": SHOP.chain_pem.decode() + SHOP.key_pem.decode()},
    }

    def refuse(status: int, message: str) -> Reply:
        return Reply(status=status, body={"error": {"code": "X", "message": message}})

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "Bearer good":
            return refuse(401, "AADSTS: no token")
        known = next(
            (version for pattern, version in VERSIONS.items() if re.fullmatch(pattern, asked.path)), None
        )
        if known is None or asked.query.get("api-version") != known:
            return refuse(400, f"InvalidApiVersionParameter: {asked.query} for {asked.path}")
        if int(asked.query.get("maxresults", 1)) > 25:
            return refuse(400, "BadParameter: maxresults")
        if asked.path in single:
            return Reply(body=single[asked.path])
        if asked.path not in lists:
            return refuse(404, f"{asked.path} was not found")
        page, following = paged(lists[asked.path], asked, size="maxresults", token="$skiptoken", most=1)
        link = f"{server.url}{asked.path}?api-version={known}&$skiptoken={following}" if following else None
        return Reply(body={"value": page, "nextLink": link})

    return answer


@pytest.fixture
def server() -> Iterator[RestServer]:
    with rest_server(azure) as running:
        yield running


Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(server: RestServer, tmp_path: Path) -> Settings:
    (tmp_path / "token").write_text("good\n")

    def made(**more: Any) -> dict[str, Any]:
        token = str(tmp_path / "token")
        return {"endpoint": server.url, "token_file": token, "rate": 10_000, "attempts": 2, **more}

    return made


async def look(settings: dict[str, Any]) -> dict[str, Observation]:
    said = await collect(AzureCollector, settings)
    assert not [each for each in said if isinstance(each, Incomplete)]
    return {each.location: each for each in said if isinstance(each, Observation)}


async def test_key_vault_shows_every_enabled_version_with_its_owner(settings: Settings) -> None:
    found = await look(settings(services=["keyvault"]))
    web = found[f"azure://{SUB}/keyvault/kv/web"]
    assert web.chain == (WEB.der,)
    assert web.facts["azure_version"] == "v2"
    assert web.facts["renewal_managed"] is True
    # The certificate's own tag, before the vault's.
    assert web.labels == {
        "subscription": "Shop",
        "location": "westeurope",
        "owner": "payments",
        "environment": "prod",
    }
    assert web.scope == scope_of(web.location) == f"{SUB}/keyvault/kv"
    assert found[f"azure://{SUB}/keyvault/kv/web#v1"].chain == (BEFORE.der,)
    waiting = found[f"azure://{SUB}/keyvault/kv/waiting"]
    assert waiting.error is not None
    assert waiting.error.kind == "no-certificate"
    assert len(found) == 3


async def test_a_version_is_read_once(server: RestServer, settings: Settings) -> None:
    config = AzureConfig.model_validate(settings(services=["keyvault"]))
    collector = AzureCollector("azure", config, CollectorContext(clock=FakeClock()))
    first = [each async for each in collector.collect()]
    server.asked.clear()
    assert [each async for each in collector.collect()] == first
    assert set(server.paths()) == {
        "/subscriptions",
        f"/subscriptions/{SUB}/providers/Microsoft.KeyVault/vaults",
        "/certificates",
    }


async def test_secrets_that_hold_certificates_are_read_if_asked_for(
    server: RestServer, settings: Settings
) -> None:
    found = await look(settings(services=["keyvault"], secrets=True))
    pem = found[f"azure://{SUB}/keyvault/kv/secret/pem"]
    assert pem.chain == SHOP.chain_der
    assert pem.facts["key_match"] is True
    assert "/secrets/password" not in server.paths()
    assert "/secrets/web" not in server.paths()


async def test_app_service_shows_who_uses_a_certificate(settings: Settings) -> None:
    (seen,) = (await look(settings(services=["app-service"]))).values()
    assert seen.location == f"azure://{SUB}/app-service/web/shop"
    assert seen.chain == (SHOP.der,)
    assert seen.facts["in_use_by"] == f"{GROUP}/providers/Microsoft.Web/sites/shop"
    assert seen.facts["tls_targets"] == "shop.example.com:443"
    assert seen.labels["owner"] == "shop"


async def test_application_gateways_show_what_listeners_serve(settings: Settings) -> None:
    found = await look(settings(services=["application-gateway"]))
    web = found[f"azure://{SUB}/application-gateway/web/front/web"]
    assert set(web.chain) == {WEB.der, ROOT.der}
    assert web.facts["in_use"] is True
    assert web.facts["in_use_by"] == GATEWAY
    assert web.labels["location"] == "westeurope"
    assert web.facts["tls_targets"] == "www.example.com:8443"
    assert web.labels["owner"] == "edge"
    root = found[f"azure://{SUB}/application-gateway/web/front/trusted-root/root"]
    assert root.chain == (ROOT.der,)


async def test_front_door_shows_domains_whose_validation_fails(settings: Settings) -> None:
    (seen,) = (await look(settings(services=["front-door"]))).values()
    assert seen.location == f"azure://{SUB}/front-door/afd/d"
    assert seen.facts["renewal"] == "failed"
    assert seen.facts["renewal_unvalidated"] == "cdn.example.com"
    assert seen.facts["tls_targets"] == "cdn.example.com:443"
    assert seen.facts["azure_thumbprint"] == "CD"
    assert seen.facts["in_use_by"] == f"{PROFILE}/customDomains/d"
    assert seen.labels["owner"] == "cdn"


async def test_a_vault_that_is_denied_is_one_error_and_the_rest_goes_on(
    server: RestServer, settings: Settings
) -> None:
    message = "The user, group or application 'appid=1' does not have certificates list permission"
    server.instead["/certificates"] = Reply(
        status=403, body={"error": {"code": "Forbidden", "message": message}}
    )
    said = await collect(AzureCollector, settings())
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert failed.scope == f"{SUB}/keyvault/kv"
    assert failed.error.kind == "permission"
    assert "does not have certificates list permission" in failed.error.message
    assert len([each for each in said if isinstance(each, Observation)]) == 4


async def test_only_enabled_subscriptions_are_looked_at_or_those_that_are_named(
    server: RestServer, settings: Settings
) -> None:
    await look(settings(services=["app-service"]))
    assert not [path for path in server.paths() if OFF in path]
    said = await collect(AzureCollector, settings(services=["app-service"], subscriptions=[OFF]))
    assert [each.scope for each in said if isinstance(each, Incomplete)] == [f"{OFF}/app-service"]


async def test_throttling_is_waited_out(server: RestServer, settings: Settings) -> None:
    server.faults += [Reply(status=429, body={}, headers={"Retry-After": "0"})]
    assert await look(settings(services=["app-service"]))


@pytest.mark.parametrize(
    "link", ["https://evil.example.com/?", "http://127.0.0.1:1/", "http://u:p@127.0.0.1/"]
)
async def test_a_token_goes_to_no_page_elsewhere(server: RestServer, settings: Settings, link: str) -> None:
    server.instead["/certificates"] = Reply(body={"value": [], "nextLink": link})
    said = await collect(AzureCollector, settings(services=["keyvault"]))
    (failed,) = [each for each in said if isinstance(each, Incomplete)]
    assert "names a page elsewhere" in failed.error.message


@pytest.mark.parametrize(
    "uri", ["https://evil.example.com/", "http://kv.vault.azure.net/", "https://vault.azure.net.evil/"]
)
def test_a_token_for_vaults_goes_to_vaults_only(uri: str) -> None:
    collector = AzureCollector("azure", AzureConfig(), CollectorContext(clock=FakeClock()))
    with pytest.raises(Exception, match="is no address of a vault"):
        collector._check(uri.rstrip("/"), "vault.azure.net")
    collector._check("https://kv.vault.azure.net", "vault.azure.net")


async def test_no_token_fails_the_scan(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("bad")
    with pytest.raises(CollectError, match="AADSTS: no token"):
        await collect(AzureCollector, settings(token_file=str(tmp_path / "bad")))


async def test_a_managed_identity_gives_the_token(
    server: RestServer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microsoft's own library against App Service's endpoint for identities, as its documentation has it."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.url}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.instead["/msi/token"] = Reply(
        body={"access_token": "good", "expires_on": "4102444800", "resource": "x", "token_type": "Bearer"}
    )
    client = "00000000-0000-0000-0000-000000000001"
    config = settings(services=["app-service"], token_file=None, client_id=client)
    assert await look(config)
    (asked,) = [each for each in server.asked if each.path == "/msi/token"]
    assert asked.headers["x-identity-header"] == "secret"
    assert asked.query["resource"] == "https://management.azure.com"
    assert asked.query["client_id"] == client
