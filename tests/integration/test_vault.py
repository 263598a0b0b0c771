"""The vault collector: the server itself where tools/vault.sh has built it, and its API as documented everywhere else."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock
from collectors.vault import VaultCollector, VaultConfig
from tests.support.ca_rounds import Rounds
from tests.support.inventories import Tried
from tests.support.json_server import Answer, Asked, JSONServer, json_server
from tests.support.vault import ISSUER_INFO, FakeVault, RealVault, VaultServer

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

POLICY = Path("deploy/vault/policy.hcl").read_text()


class VaultRounds(Rounds):
    kind = VaultCollector

    def __init__(self, tried: Tried, vault: Any, **more: Any) -> None:
        super().__init__(tried, url=vault.url, **({} if "role_id" in more else {"token": vault.root}), **more)

    def failed(self) -> dict[str, str]:
        return {each.scope: each.error.message for each in self.said if isinstance(each, Incomplete)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def place(serial: str, mount: str = "pki") -> str:
    return f"cadb://corp/{serial.replace(':', '')}?ca={mount}"


async def test_mounts_show_their_issuers_their_set_up_and_what_they_issued(
    either_vault: VaultServer, tried: Tried
) -> None:
    first, second = either_vault.issue("one.example"), either_vault.issue("two.example")
    either_vault.revoke(second)
    rounds = VaultRounds(tried, either_vault)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), rounds.failed()
    mount = tried.served("vault://corp/pki")
    assert mount.facts["ca_publishes_revocation"] is True
    assert mount.facts["vault_ocsp_urls"] == "http://ocsp.example"
    assert (mount.facts["vault_crl"], mount.facts["vault_crl_expiry"]) == (True, "72h")
    assert mount.facts["vault_ocsp"] is True
    assert mount.facts["vault_tidy_automatic"] is False
    assert mount.location.labels["mount"] == "pki"
    (issuer,) = [uri for uri in rounds.live() if uri.startswith("vault://corp/pki/issuer/")]
    assert tried.served(issuer).chain[0].subject == "CN=Vault Root"
    assert tried.served(issuer).facts["vault_default"] is True
    assert tried.served(issuer).facts["vault_has_key"] is True
    assert tried.served(place(first)).facts == {"ca_status": "issued"}
    assert tried.served(place(first)).chain[0].names == ("dns:one.example",)
    assert tried.served(place(second)).facts["ca_status"] == "revoked"
    assert "revoked_at" in tried.served(place(second)).facts


async def test_an_issuer_without_a_key_is_not_in_use(
    vault: tuple[FakeVault, JSONServer], tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = VaultRounds(tried, vault[0])
    await rounds.round()
    assert "in_use" not in tried.served("vault://corp/pki/issuer/1-2").facts
    monkeypatch.setitem(ISSUER_INFO, "key_id", "")
    await rounds.round()
    assert tried.served("vault://corp/pki/issuer/1-2").facts["in_use"] is False


async def test_what_is_revoked_later_and_what_tidy_removed_is_followed(
    either_vault: VaultServer, tried: Tried
) -> None:
    first, second = either_vault.issue("one.example"), either_vault.issue("two.example")
    rounds = VaultRounds(tried, either_vault)
    await rounds.round()
    either_vault.revoke(first)
    either_vault.forget(second)
    third = either_vault.issue("three.example")
    scan = await rounds.round()
    assert scan.status == "complete", rounds.failed()
    assert tried.served(place(first)).facts["ca_status"] == "revoked"
    assert place(third) in rounds.live()
    assert place(second) not in rounds.live()


async def test_the_policy_that_is_shipped_is_enough(real_vault: RealVault, tried: Tried) -> None:
    tried.clock = FakeClock(real_vault.now)
    serial = real_vault.issue("one.example")
    role, secret = real_vault.role_with(POLICY)
    rounds = VaultRounds(tried, real_vault, role_id=role, secret_id=secret)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), rounds.failed()
    assert place(serial) in rounds.live()


async def test_what_is_known_is_not_asked_for_again(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    fake, server = vault
    serials = [fake.issue(f"{number}.example") for number in range(5)]
    rounds = VaultRounds(tried, fake)
    await rounds.round()
    fake.revoke(serials[3])
    server.asked.clear()
    await rounds.round()
    assert len([each for each in server.asked if "/pki/cert/" in each.path]) == 1
    assert len([uri for uri in rounds.live() if uri.startswith("cadb:")]) == 5


async def test_what_ended_long_ago_is_asked_for_once(vault: tuple[FakeVault, JSONServer]) -> None:
    vault[0].issue("one.example")
    collector = VaultCollector(
        "corp",
        VaultConfig.model_validate({"url": vault[0].url, "token": vault[0].root}),
        CollectorContext(clock=FakeClock(vault[0].now + timedelta(days=200))),
    )
    for _ in range(2):
        seen = [each async for each in collector.collect() if isinstance(each, Observation)]
        assert [each.location for each in seen if each.location.startswith("cadb:")] == []
    assert len([each for each in vault[1].asked if "/pki/cert/" in each.path]) == 1


def answering(fake: FakeVault, refused: dict[str, int]) -> Any:
    def answer(asked: Asked) -> Answer:
        status = refused.get(asked.path.removeprefix("/v1/"))
        return (status, {"errors": ["permission denied"]}) if status else fake.answer(asked)

    return answer


async def test_what_is_denied_is_one_error_and_the_rest_goes_on(tried: Tried) -> None:
    fake, refused = FakeVault(), dict[str, int]()
    serial = fake.issue("one.example")
    with json_server(answering(fake, refused)) as server:
        fake.url = server.url
        rounds = VaultRounds(tried, fake)
        await rounds.round()
        before = set(rounds.live())
        refused.update({"pki/certs": 403, "pki/config/crl": 403})
        scan = await rounds.round()
        assert scan.status == "partial"
        assert set(rounds.failed()) == {"pki/revocation", "issued:pki"}
        assert rounds.failed()["issued:pki"].endswith(
            'permission denied"]}. Give its token the policy in deploy/vault/policy.hcl'
        )
        assert set(rounds.live()) == before
        assert place(serial) in before
        refused["sys/mounts"] = 403
        scan = await rounds.round()
        assert scan.status == "failed"
        assert scan.error is not None
        assert scan.error.message.endswith("or name the mounts")
        refused.clear()
        refused["sys/mounts"] = 403
        named = VaultRounds(tried, fake, mounts=["pki/"])
        assert (await named.round()).status == "complete", named.failed()


async def test_a_mount_that_is_gone_is_said_if_it_is_named(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    rounds = VaultRounds(tried, vault[0], mounts=["pki", "elsewhere"])
    assert (await rounds.round()).status == "partial"
    assert set(rounds.failed()) == {"elsewhere", "issued:elsewhere"}


async def test_a_vault_without_any_mount_retires_nothing(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    """So another namespace looks."""
    rounds = VaultRounds(tried, vault[0])
    await rounds.round()
    before = rounds.live()
    assert before
    vault[0].mounts = {"secret/": "kv"}
    scan = await rounds.round()
    assert scan.status == "failed"
    assert scan.error is not None
    assert "has no PKI mount" in scan.error.message
    assert rounds.live() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "give a token, or role_id and secret_id"),
        ({"role_id": "r"}, "belong together"),
        ({"token": "t", "url": "http://vault.example:8200"}, "write https://"),
        ({"token": "t", "mounts": []}, "at least 1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VaultConfig.model_validate({"url": "https://vault.example:8200", **more})
