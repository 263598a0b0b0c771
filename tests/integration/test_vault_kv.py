"""Certificates in KV secrets: Vault itself where tools/vault.sh has built it, and its API as documented everywhere else."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from certwatch.model.observation import Incomplete
from certwatch.plugins.testing import make_ca, make_certificate
from collectors.vault import VaultCollector, VaultConfig, kv
from tests.support.ca_rounds import Rounds
from tests.support.inventories import Tried
from tests.support.json_server import json_server
from tests.support.vault_kv import FakeKV, KVServer, RealKV

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(90)]

POLICY = Path("deploy/vault/policy-kv.hcl").read_text()
CA = make_ca("Secret CA", key_number=530)
ONE = make_certificate(names=["dns:one.example"], issuer=CA, key_number=531)
TWO = make_certificate(names=["dns:two.example"], issuer=CA, key_number=532)


class KVRounds(Rounds):
    kind = VaultCollector

    def __init__(self, tried: Tried, server: KVServer, *mounts: dict[str, Any], **more: Any) -> None:
        login = {} if "role_id" in more else {"token": server.root}
        keys = {"mounts": [], "kv": list(mounts) or [{"mount": "secret"}], **login, **more}
        super().__init__(tried, url=server.url, **keys)

    def failed(self) -> dict[str, str]:
        return {each.scope: each.error.message for each in self.said if isinstance(each, Incomplete)}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def place(path: str, key: str = "tls.crt", mount: str = "secret") -> str:
    return f"vault://corp/{mount}/secret/{path}?key={key}"


async def test_certificates_are_found_in_every_form_with_the_key_beside_them(
    either_kv: KVServer, tried: Tried
) -> None:
    either_kv.put(
        "forms/pem", **{"tls.crt": ONE.chain_pem.decode(), "tls.key": ONE.key_pem.decode(), "note": "x"}
    )
    either_kv.put(
        "forms/pki",
        certificate=ONE.pem.decode(),
        ca_chain=[CA.pem.decode()],
        private_key=TWO.key_pem.decode(),
    )
    either_kv.put("forms/deep/der", crt=base64.b64encode(TWO.der).decode())
    either_kv.put(
        "forms/b64", crt=base64.b64encode(TWO.pem).decode(), key=base64.b64encode(TWO.key_pem).decode()
    )
    either_kv.put(
        "forms/other", password="MIIhunter2" * 20, number=1, none=None, deep={"tls.crt": ONE.pem.decode()}
    )
    rounds = KVRounds(tried, either_kv, {"paths": ["forms/**"]})
    scan = await rounds.round()
    assert (scan.status, scan.errors) == ("complete", 0), rounds.failed()
    assert set(rounds.live()) == {
        place("forms/pem"),
        place("forms/pki", "certificate"),
        place("forms/deep/der", "crt"),
        place("forms/b64", "crt"),
    }
    pem = tried.served(place("forms/pem"))
    assert (pem.facts["key_match"], pem.facts["arrangement"]) == (True, "chain")
    assert pem.facts["vault_version"] == 1
    assert (pem.location.labels["mount"], pem.location.labels["path"]) == ("secret", "forms/pem")
    pki = tried.served(place("forms/pki", "certificate"))
    # What is above it stands under another key, and is part of its chain.
    assert [each.der for each in pki.chain] == [ONE.der, CA.der]
    assert pki.facts["key_match"] is False
    assert tried.served(place("forms/b64", "crt")).facts["key_match"] is True
    assert "key_match" not in tried.served(place("forms/deep/der", "crt")).facts


async def test_paths_and_keys_narrow_down_what_is_read(fake_kv: FakeKV, tried: Tried) -> None:
    for path in ("web/a", "web/deep/b", "db/c", "top"):
        fake_kv.put(path, **{"tls.crt": ONE.pem.decode(), "old.pem": TWO.pem.decode()})
    with json_server(fake_kv.answer) as server:
        fake_kv.url = server.url
        rounds = KVRounds(tried, fake_kv, {"paths": ["web/*", "/top"], "keys": ["*.crt"]})
        assert (await rounds.round()).status == "complete"
        assert set(rounds.live()) == {place("web/a"), place("top")}
        asked = {each.path.removeprefix("/v1/") for each in server.asked}
    # Neither a folder nor a secret beside them.
    assert asked == {
        "sys/internal/ui/mounts/secret",
        "secret/metadata/web",
        "secret/data/web/a",
        "secret/data/top",
    }


async def test_what_is_deleted_is_retired_and_what_cannot_be_listed_is_not(
    either_kv: KVServer, tried: Tried
) -> None:
    either_kv.put("gone/a", **{"tls.crt": ONE.pem.decode()})
    either_kv.put("gone/b", **{"tls.crt": TWO.pem.decode()})
    rounds = KVRounds(tried, either_kv, {"paths": ["gone/*"]})
    await rounds.round()
    assert set(rounds.live()) == {place("gone/a"), place("gone/b")}
    either_kv.delete("gone/a")
    assert (await rounds.round()).status == "complete", rounds.failed()
    assert set(rounds.live()) == {place("gone/b")}


async def test_a_secret_that_is_named_and_not_there_is_said_and_gone(
    either_kv: KVServer, tried: Tried
) -> None:
    either_kv.put("named/a", **{"tls.crt": ONE.pem.decode()})
    either_kv.put("named/b", **{"tls.crt": TWO.pem.decode()})
    rounds = KVRounds(tried, either_kv, {"paths": ["named/a", "named/b"]})
    assert (await rounds.round()).status == "complete"
    either_kv.delete("named/a")
    assert (await rounds.round()).status == "partial"
    assert rounds.failed() == {
        "kv:secret/named/a": "corp: KV mount secret: named/a is not there, or deleted. Take it out of `paths`, or see how it"
        " is spelt"
    }
    assert set(rounds.live()) == {place("named/b")}


async def test_what_is_denied_is_one_error_and_retires_nothing(fake_kv: FakeKV, tried: Tried) -> None:
    for path in ("web/a", "web/b", "web/c"):
        fake_kv.put(path, **{"tls.crt": ONE.pem.decode()})
    rounds = KVRounds(tried, fake_kv)
    await rounds.round()
    before = set(rounds.live())
    denied = (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})
    fake_kv.instead = {"secret/data/web/a": denied, "secret/data/web/b": denied}
    del fake_kv.secrets["web/c"]
    scan = await rounds.round()
    assert (scan.status, set(rounds.live())) == ("partial", before)
    [message] = rounds.failed().values()
    assert "corp: KV mount secret: " in message
    assert "(and 1 paths more). Give its token the policy in deploy/vault/policy-kv.hcl" in message
    for path in ("secret/metadata", "secret/metadata/web", "sys/internal/ui/mounts/secret"):
        for answer in (denied, (500, {"errors": ["down"]}), (200, {"data": {"keys": 1}})):
            fake_kv.instead = {path: answer}
            assert (await rounds.round()).status == "partial"
            assert set(rounds.live()) == before, path
    fake_kv.instead = {}
    assert (await rounds.round()).status == "complete"
    assert set(rounds.live()) == before - {place("web/c")}


async def test_no_value_is_told(fake_kv: FakeKV, tried: Tried, caplog: pytest.LogCaptureFixture) -> None:
    damaged = "-----BEGIN CERTIFICATE-----\n!!hunter2!!\n-----END CERTIFICATE-----\n"
    fake_kv.put("web/a", **{"tls.crt": damaged, "tls.key": ONE.key_pem.decode()})
    fake_kv.instead = {"secret/data/web/b": (200, {"data": {"data": "hunter2", "metadata": {"version": 1}}})}
    fake_kv.put("web/b")
    rounds = KVRounds(tried, fake_kv)
    assert (await rounds.round()).status == "partial"
    served = tried.served(place("web/a"))
    assert served.error is not None
    assert (
        served.error.message
        == "corp: secret/web/a: tls.crt: a certificate in it cannot be read. Check what wrote it"
    )
    told = f"{rounds.said!r}{caplog.text}"
    assert "hunter2" not in told
    assert "PRIVATE" not in told


async def test_too_much_is_an_error_and_retires_nothing(
    fake_kv: FakeKV, tried: Tried, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        fake_kv.put(f"web/{number}", **{"tls.crt": ONE.pem.decode()})
    rounds = KVRounds(tried, fake_kv)
    await rounds.round()
    before = set(rounds.live())
    monkeypatch.setattr(kv, "MOST_SECRETS", 3)
    assert (await rounds.round()).status == "partial"
    assert set(rounds.live()) == before
    assert "Narrow down `paths`" in rounds.failed()["kv:secret"]
    monkeypatch.setattr(kv, "MOST_SECRETS", 9)
    for path in ("/".join(["deep"] * 40), "long" * 600):
        fake_kv.put(path, **{"tls.crt": ONE.pem.decode()})
        assert (await rounds.round()).status == "partial"
        del fake_kv.secrets[path]


async def test_the_policy_that_is_shipped_is_enough_and_version_1_is_read(
    real_kv: RealKV, tried: Tried
) -> None:
    real_kv.put("policy/a", **{"tls.crt": ONE.pem.decode()})
    real_kv.vault.call("old/web/one", **{"tls.crt": TWO.pem.decode()})
    role, secret = real_kv.vault.role_with(POLICY.replace('# path "kv', 'path "old'))
    # A role's rights reach its tokens at once; a mount needs a moment to be one of version 2.
    mounts = ({"paths": ["policy/*"]}, {"mount": "old/"})
    rounds = KVRounds(tried, real_kv, *mounts, role_id=role, secret_id=secret)
    scan = await rounds.round()
    assert scan.status == "complete", rounds.failed()
    assert set(rounds.live()) == {place("policy/a"), place("web/one", mount="old")}
    assert "vault_version" not in tried.served(place("web/one", mount="old")).facts
    beside = KVRounds(tried, real_kv, {"mount": "nowhere"}, role_id=role, secret_id=secret)
    assert (await beside.round()).status == "partial"
    assert "policy-kv.hcl" in beside.failed()["kv:nowhere"]
    pki = KVRounds(tried, real_kv, {"mount": "pki"})
    await pki.round()
    assert "is no KV secrets engine" in pki.failed()["kv:pki"]


async def test_a_whole_vault_shows_its_pki_and_its_secrets(real_kv: RealKV, tried: Tried) -> None:
    real_kv.put("whole/a", **{"tls.crt": ONE.pem.decode()})
    rounds = KVRounds(tried, real_kv, {"paths": ["whole/a"]}, mounts=None)
    assert (await asyncio.wait_for(rounds.round(), 60)).status == "complete", rounds.failed()
    assert {place("whole/a"), "vault://corp/pki"} <= set(rounds.live())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mounts": []}, "at least 1"),
        ({"kv": [{}, {"mount": "secret/"}]}, "a mount is there twice"),
        ({"kv": [{"paths": []}]}, "at least 1"),
    ],
)
def test_a_config_that_cannot_work_is_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        VaultConfig.model_validate({"url": "https://vault.example:8200", "token": "t", **more})
