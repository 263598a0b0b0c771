"""A PKI mount of Vault: the server itself where tools/vault.sh has built it, and its API as documented everywhere else."""

from typing import Any

import pytest

from certwatch.plugins.testing import FakeClock
from tests.support.ca_rounds import Rounds
from tests.support.inventories import Tried
from tests.support.json_server import Answer, Asked, JSONServer, json_server
from tests.support.vault import FakeVault, RealVault, VaultServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(90)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def place(serial: str) -> str:
    return f"cadb://corp/{serial.replace(':', '')}"


def vault_rounds(tried: Tried, vault: VaultServer, **more: Any) -> Rounds:
    return Rounds(tried, **{"preset": "vault", "url": vault.url, "token": vault.root, **more})


async def test_a_mount_is_followed_through_issue_and_revocation(
    either_vault: VaultServer, tried: Tried
) -> None:
    first, second = either_vault.issue("one.example"), either_vault.issue("two.example")
    either_vault.revoke(second)
    rounds = vault_rounds(tried, either_vault)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert {place(first), place(second)} <= set(rounds.live())
    assert tried.served(place(first)).facts == {"ca_status": "issued"}
    assert tried.served(place(first)).chain[0].names == ("dns:one.example",)
    assert tried.served(place(second)).facts["ca_status"] == "revoked"
    assert str(tried.served(place(second)).facts["revoked_at"]).startswith(
        f"{either_vault.now:%Y-%m-%dT}"[:7]
    )
    assert [each.subject for each in rounds.database.chain] == ["CN=Vault Root"]
    assert rounds.database.facts["ca_publishes_revocation"] is True
    await rounds.round()
    assert rounds.told == []

    third = either_vault.issue("three.example")
    either_vault.revoke(first)
    await rounds.round()
    assert set(rounds.told) == {place(first), place(third)}
    assert tried.served(place(first)).facts["ca_status"] == "revoked"


async def test_a_vault_that_is_restored_from_before_is_found_out(
    either_vault: VaultServer, tried: Tried
) -> None:
    first, second = either_vault.issue("one.example"), either_vault.issue("two.example")
    rounds = vault_rounds(tried, either_vault)
    await rounds.round()
    for each in (first, second):
        either_vault.forget(each)
    third = either_vault.issue("three.example")
    await rounds.round()
    assert place(third) in rounds.live()
    assert not {place(first), place(second)} & set(rounds.live())
    assert "ca_went_back_at" in rounds.database.facts


async def test_the_policy_of_the_documentation_is_enough(real_vault: RealVault, tried: Tried) -> None:
    tried.clock = FakeClock(real_vault.now)
    serial = real_vault.issue("one.example")
    role, secret = real_vault.app_role()
    rounds = Rounds(tried, preset="vault", url=real_vault.url, role_id=role, secret_id=secret)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert place(serial) in rounds.live()
    assert rounds.database.facts["ca_publishes_revocation"] is True
    wrong = await Rounds(
        tried, preset="vault", url=real_vault.url, role_id=role, secret_id=secret, mount="x"
    ).round()
    assert wrong.error is not None
    assert "PKI mounts are: pki" in wrong.error.message or "permission denied" in wrong.error.message


async def test_what_is_new_is_asked_for_and_what_is_known_is_not(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    fake, server = vault
    first, second = fake.issue("one.example"), fake.issue("two.example")
    fake.revoke(second)
    rounds = vault_rounds(tried, fake)
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), scan.error
    assert set(rounds.live()) == {place(first), place(second)}
    assert tried.served(place(first)).facts == {"ca_status": "issued"}
    assert tried.served(place(second)).facts == {
        "ca_status": "revoked",
        "revoked_at": "2026-11-01T11:59:00Z",
    }
    assert [each.subject for each in rounds.database.chain] == ["CN=Vault Root"]
    assert rounds.database.facts["ca_publishes_revocation"] is True

    server.asked.clear()
    await rounds.round()
    assert rounds.told == []
    assert not any(each.path.startswith("/v1/pki/cert/") for each in server.asked)

    third = fake.issue("three.example")
    fake.revoke(first)
    await rounds.round()
    assert set(rounds.told) == {place(first), place(third)}
    assert {each.path.rpartition("/")[2] for each in server.asked if "/cert/" in each.path} == {first, third}
    assert tried.served(place(first)).facts["ca_status"] == "revoked"
    assert set(rounds.live()) == {place(first), place(second), place(third)}


async def test_an_openbao_that_has_pages_is_read_to_its_end(
    vault: tuple[FakeVault, JSONServer], tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, server = vault
    fake.pages = True
    monkeypatch.setattr("certwatch.doors.vault.PAGE", 2)
    # Some that begin with one byte: by colons, all but the first two of these would be passed over.
    issued = [fake.issue(f"host-{number}.example") for number in range(7)]
    for number, old in enumerate(list(fake.certificates)):
        fake.certificates["0a" + old[2:-2] + f"{number:02x}"] = fake.certificates.pop(old)
    del issued
    rounds = vault_rounds(tried, fake)
    assert (await rounds.round()).status == "complete"
    assert len(rounds.live()) == 7
    assert max(len(each.query.get("after", "")) for each in server.asked) > 0


async def test_a_role_gets_a_token_and_gets_another_when_that_has_ended(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    fake, server = vault
    fake.issue("one.example")
    rounds = Rounds(tried, preset="vault", url=fake.url, role_id="role", secret_id="secret")
    assert (await rounds.round()).status == "complete"
    real = fake.answer
    ended = False

    def ends(asked: Asked) -> Answer:
        nonlocal ended
        if not ended and asked.path.endswith("/certs"):
            ended = True
            fake.tokens.clear()
        return real(asked)

    with json_server(ends) as other:
        rounds.config["url"] = other.url
        assert (await rounds.round()).status == "complete"
    assert ended
    assert len([each for each in server.asked if each.path.endswith("/login")]) == 1


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"token": "wrong"}, "permission", "permission denied"),
        ({"token": None}, "permission", "permission denied"),
        ({"mount": "elsewhere"}, "not-found", "PKI mounts are: pki"),
        ({"url": "http://127.0.0.1:9"}, "refused", "127.0.0.1:9"),
        ({"url": "http://vault.example:8200"}, "other", "Use https://"),
        ({"url": "ftp://vault"}, "other", "Write it as https://host:port"),
        ({"trust": "/nonexistent.pem"}, "other", "/nonexistent.pem"),
    ],
)
async def test_why_vault_cannot_be_read_is_told_with_what_to_do(
    vault: tuple[FakeVault, JSONServer], tried: Tried, change: dict[str, Any], kind: str, message: str
) -> None:
    scan = await vault_rounds(tried, vault[0], **change).round()
    assert scan.status == "failed"
    assert scan.error is not None
    assert scan.error.kind == kind
    assert message in scan.error.message
    assert "wrong" not in scan.error.message


async def test_a_server_that_fails_in_the_middle_keeps_what_was_read_and_retires_nothing(
    vault: tuple[FakeVault, JSONServer], tried: Tried
) -> None:
    fake, _ = vault
    serials = [fake.issue(f"host-{number}.example") for number in range(200)]
    rounds = vault_rounds(tried, fake)
    await rounds.round()
    assert len(rounds.live()) == 200
    asked = 0

    def breaks(each: Asked) -> Answer:
        nonlocal asked
        asked += "/cert/" in each.path
        return (500, {"errors": ["barrier is sealed"]}) if asked > 100 else fake.answer(each)

    fake.forget(serials[0])
    with json_server(breaks) as broken:
        rounds.config["url"] = broken.url
        scan = await rounds.round(days=1)
    assert scan.status == "partial"
    assert scan.error is not None
    assert "barrier is sealed" in scan.error.message
    assert len(rounds.live()) == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"{}",
        b'{"data": {"keys": "x"}}',
        b'{"data": ' + b"[" * 50_000,
        b'{"data": {"keys": ["zz:zz", "", "../../x"]}}',
    ],
)
async def test_answers_that_are_not_vaults_are_told(tried: Tried, answer: bytes) -> None:
    with json_server(lambda asked: (200, answer)) as server:
        scan = await Rounds(tried, preset="vault", url=server.url, token="x").round()
    assert scan.status in ("failed", "partial")
    assert scan.error is not None
    assert scan.error.kind == "malformed"


async def test_credentials_follow_no_redirect(tried: Tried) -> None:
    with json_server(lambda asked: (307, b"")) as server:
        scan = await Rounds(tried, preset="vault", url=server.url, token="x").round()
    assert scan.error is not None
    assert "which is not followed" in scan.error.message
