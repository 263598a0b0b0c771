"""Certificates in secrets of a KV mount, renewed by the daemon; and what must not be written there. Vault itself where
tools/vault.sh has built it, and its API as documented everywhere else."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Material, Target
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.remediation.deployers import vault_kv
from certwatch.remediation.deployers.vault_kv import VaultKVConfig, VaultKVDeployer
from certwatch.remediation.material import joined_pem, split_pem
from certwatch.x509.der import read
from tests.support.daemon import certwatch
from tests.support.remediation import Renewing, dying, found_ca, material, rest_of_config
from tests.support.remediation import target as target_at
from tests.support.servers import free_port
from tests.support.vault_kv import FakeKV, KVServer, RealKV

pytestmark = [pytest.mark.integration, pytest.mark.anyio, pytest.mark.timeout(120)]

POLICY = Path("deploy/vault/policy-kv-deploy.hcl").read_text()
CA = make_ca("Secret CA", issuer=make_ca("Secret Root", key_number=540), key_number=541)
OTHER_CA = make_ca("Other CA", issuer=make_ca("Secret Root", key_number=540), key_number=546)
FORMER = make_certificate(issuer=CA, key_number=542)
NEW = make_certificate(issuer=CA, key_number=543)
NEWER = make_certificate(issuer=CA, key_number=544)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    """A secret of this test alone."""
    return f"web/{request.node.name}".replace("[", "-").replace("]", "")


def target(path: str, key: str = "tls.crt", former: Issued = FORMER) -> Target:
    return target_at(f"vault://corp/secret/secret/{path}?key={key}", former)


def deployer(folder: Path, server: KVServer, **more: Any) -> VaultKVDeployer:
    file = folder / "token"
    file.write_text(server.root)
    keys = {"url": server.url, **({} if "role_id" in more else {"token_file": str(file)}), **more}
    return VaultKVDeployer(VaultKVConfig.model_validate(keys), DeployerContext(clock=system_clock))


def pair(issued: Issued) -> dict[str, str]:
    return {"tls.crt": issued.chain_pem.decode(), "tls.key": issued.key_pem.decode()}


def under(issued: Issued, *above: Issued) -> Material:
    return Material(
        key_pem=issued.key_pem,
        chain_pem=joined_pem([issued.der, *(each.der for each in above)]),
        certificate=read(issued.der),
    )


def test_a_secret_holds_the_new_certificate_and_the_finding_resolves(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    former = dying("shop.example.com", number=545)
    either_kv.put(path, **pair(former), note="kept", nested={"a": [1.5, None]})
    token = tmp_path / "token"
    token.write_text(either_kv.root)
    collectors = f"""
  - {{name: corp, kind: vault, url: '{either_kv.url}', token_file: {token}, mounts: [], kv: [{{paths: ['web/*']}}]}}"""
    policy = f"""issuer: {{kind: embedded, profile: server}}
      deploy: [{{kind: vault-kv, url: '{either_kv.url}', token_file: {token}, paths: ['{path}']}}]
      approve: automatic"""
    more = rest_of_config(tmp_path, policy)
    found_ca(tmp_path, more)
    with certwatch(tmp_path, collectors, more) as daemon:
        it = Renewing(daemon=daemon)
        it.verified()
        [plan] = it.plans()
        # The collector's own look.
        done = daemon.command("list", "--json", "--where", 'collector == "corp"')
    data, version = either_kv.get(path)
    chain = split_pem(data["tls.crt"].encode())
    assert read(chain[0]).fingerprint_sha256.hex() == plan["steps"][0]["said"]
    assert len(chain) == 2
    key = load_pem_private_key(data["tls.key"].encode(), None)
    assert read(chain[0]).spki_sha256 == read_spki(key)
    # What else is there stays, and nothing of the roll-out lies about.
    assert (data["note"], data["nested"]) == ("kept", {"a": [1.5, None]})
    assert (version, either_kv.notes(path)) == (2, {})
    assert "PRIVATE KEY" not in done.stdout


def read_spki(key: Any) -> bytes:
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).digest()


async def test_the_former_one_is_put_back_by_a_new_version(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    either_kv.put(path, **pair(FORMER), note="kept")
    it, place = deployer(tmp_path, either_kv), target(path)
    before, _ = either_kv.get(path)
    assert it.takes(place)
    # Nothing was done yet: nothing is to be undone.
    await it.undo(place)
    await it.forget(place)
    await it.deploy(place, material(NEW))
    assert await it.present(place) == (NEW.der, CA.der)
    # Once more, as after a crash: the same, and then a newer one.
    await it.deploy(place, material(NEW))
    assert either_kv.get(path)[1] == 2
    await it.deploy(place, material(NEWER))
    assert await it.present(place) == (NEWER.der, CA.der)
    [note] = either_kv.notes(path).values()
    assert "PRIVATE" not in note
    await it.undo(place)
    await it.undo(place)
    assert either_kv.get(path) == (before, 4)
    await it.forget(place)
    await it.forget(place)
    assert either_kv.notes(path) == {}


async def test_a_crash_before_or_after_the_write_is_gone_on_from(
    tmp_path: Path, either_kv: KVServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    either_kv.put(path, **pair(FORMER))
    it, place = deployer(tmp_path, either_kv), target(path)
    write = vault_kv._changed

    def killed_before(*args: Any) -> bool:
        raise RuntimeError("killed")

    def killed_after(*args: Any) -> bool:
        write(*args)
        raise RuntimeError("killed")

    monkeypatch.setattr(vault_kv, "_changed", killed_before)
    with pytest.raises(RuntimeError):
        await it.deploy(place, material(NEW))
    assert await it.present(place) == (FORMER.der, CA.der)
    monkeypatch.setattr(vault_kv, "_changed", killed_after)
    with pytest.raises(RuntimeError):
        await it.deploy(place, material(NEWER))
    monkeypatch.setattr(vault_kv, "_changed", write)
    # By another process, which knows nothing but the place.
    again = deployer(tmp_path, either_kv)
    await again.deploy(place, material(NEWER))
    assert either_kv.get(path)[1] == 2
    monkeypatch.setattr(vault_kv, "_changed", killed_after)
    with pytest.raises(RuntimeError):
        await again.undo(place)
    monkeypatch.setattr(vault_kv, "_changed", write)
    await again.undo(place)
    assert either_kv.get(path) == (pair(FORMER), 3)


async def test_what_an_earlier_roll_out_could_not_tidy_up_is_no_hindrance(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    either_kv.put(path, **pair(FORMER))
    it, place = deployer(tmp_path, either_kv), target(path)
    await it.deploy(place, material(NEW))
    await it.undo(place)
    # Not forgotten, and the version of that time is not kept any more.
    for number in range(12):
        either_kv.put(path, **pair(FORMER), note=str(number))
    await it.deploy(place, material(NEWER))
    await it.undo(place)
    assert either_kv.get(path)[0] == {**pair(FORMER), "note": "11"}
    assert await it.present(place) == (FORMER.der, CA.der)


async def test_two_certificates_of_one_secret_go_their_own_ways(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    former = make_certificate(names=["dns:mail.example"], issuer=CA, key_number=548)
    mail = {"mail.crt": former.chain_pem.decode(), "mail.key": former.key_pem.decode()}
    either_kv.put(path, **pair(FORMER), **mail)
    it, web, post = deployer(tmp_path, either_kv), target(path), target(path, "mail.crt", former)
    await it.deploy(web, material(NEW))
    await it.deploy(post, material(NEWER))
    assert len(either_kv.notes(path)) == 2
    await it.undo(web)
    await it.forget(web)
    assert (await it.present(web))[0] == FORMER.der
    assert (await it.present(post))[0] == NEWER.der
    await it.undo(post)
    await it.forget(post)
    assert either_kv.get(path)[0] == {**pair(FORMER), **mail}
    assert either_kv.notes(path) == {}


async def test_what_others_write_at_the_same_time_stays(
    tmp_path: Path, either_kv: KVServer, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    either_kv.put(path, **pair(FORMER), note="old")
    it, place = deployer(tmp_path, either_kv), target(path)
    write = vault_kv._changed

    def between(*args: Any) -> bool:
        monkeypatch.setattr(vault_kv, "_changed", write)
        either_kv.put(path, **pair(FORMER), note="of somebody else")
        return write(*args)

    monkeypatch.setattr(vault_kv, "_changed", between)
    await it.deploy(place, material(NEW))
    assert either_kv.get(path) == ({**pair(NEW), "note": "of somebody else"}, 3)
    either_kv.put(path, **pair(NEWER))
    with pytest.raises(DeployFailed, match="somebody else has changed it meanwhile") as failed:
        await it.undo(place)
    assert failed.value.kind == "changed"
    with pytest.raises(DeployFailed, match="somebody else has changed it meanwhile"):
        await it.deploy(place, material(NEW))
    assert either_kv.get(path)[0] == pair(NEWER)


async def test_another_certificate_than_the_planned_one_stays(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    either_kv.put(path, **pair(NEWER))
    with pytest.raises(DeployFailed, match="another certificate") as failed:
        await deployer(tmp_path, either_kv).deploy(target(path), material(NEW))
    assert failed.value.kind == "changed"
    assert either_kv.get(path) == (pair(NEWER), 1)
    assert either_kv.notes(path) == {}


async def test_each_value_keeps_its_form(tmp_path: Path, either_kv: KVServer, path: str) -> None:
    key_der = base64.b64encode(private_der(FORMER)).decode()
    before = {
        "certificate": FORMER.pem.decode(),
        "ca_chain": [CA.pem.decode()],
        "issuing_ca": CA.pem.decode(),
        "private_key": FORMER.key_pem.decode(),
        "haproxy.pem": "hand-made\n",
        "crt": base64.b64encode(FORMER.der).decode(),
        "der": key_der,
    }
    either_kv.put(path, **before)
    it = deployer(tmp_path, either_kv)
    place = target(path, "certificate")
    new = make_certificate(issuer=OTHER_CA, key_number=547)
    # Another certificate stands under the same chain, whose issuer is to be another.
    with pytest.raises(DeployFailed, match="is the chain of crt too"):
        await it.deploy(place, under(new, OTHER_CA))
    assert either_kv.get(path) == (before, 1)
    await it.deploy(place, under(NEW, CA))
    data, _ = either_kv.get(path)
    assert split_pem(data["certificate"].encode()) == [NEW.der]
    assert [split_pem(each.encode()) for each in data["ca_chain"]] == [[CA.der]]
    assert await it.present(place) == (NEW.der, CA.der)
    assert data["private_key"] == NEW.key_pem.decode()
    assert (data["crt"], data["der"]) == (before["crt"], key_der)
    await it.undo(place)
    assert either_kv.get(path)[0] == before


async def test_base64_of_der_and_a_key_in_the_same_value_stay_so(
    tmp_path: Path, either_kv: KVServer, path: str
) -> None:
    b64 = {
        "crt": base64.b64encode(FORMER.der + CA.der).decode(),
        "key": base64.b64encode(private_der(FORMER)).decode(),
    }
    either_kv.put(path, **b64)
    it, place = deployer(tmp_path, either_kv), target(path, "crt")
    await it.deploy(place, material(NEW))
    data, _ = either_kv.get(path)
    assert base64.b64decode(data["crt"]) == NEW.der + CA.der
    assert load_der_private_key(base64.b64decode(data["key"]), None)
    assert await it.present(place) == (NEW.der, CA.der)
    await it.undo(place)
    assert either_kv.get(path)[0] == b64
    whole = {"site.pem": (FORMER.chain_pem + FORMER.key_pem).decode()}
    either_kv.put(path, **whole)
    await it.forget(place)
    place = target(path, "site.pem")
    await it.deploy(place, material(NEW))
    assert either_kv.get(path)[0] == {
        "site.pem": joined_pem([NEW.der, CA.der]).decode() + NEW.key_pem.decode()
    }
    await it.undo(place)
    assert either_kv.get(path)[0] == whole


def private_der(issued: Issued) -> bytes:
    return base64.b64decode("".join(issued.key_pem.decode().splitlines()[1:-1]))


async def test_keys_of_the_settings_come_first(tmp_path: Path, either_kv: KVServer, path: str) -> None:
    either_kv.put(path, cert=FORMER.pem.decode(), key=FORMER.key_pem.decode())
    it, place = deployer(tmp_path, either_kv, private_key="key", chain="above"), target(path, "cert")
    await it.deploy(place, material(NEW))
    data, _ = either_kv.get(path)
    assert split_pem(data["cert"].encode()) == [NEW.der]
    assert split_pem(data["above"].encode()) == [CA.der]
    assert await it.present(place) == (NEW.der, CA.der)
    await it.undo(place)
    assert either_kv.get(path)[0] == {"cert": FORMER.pem.decode(), "key": FORMER.key_pem.decode()}


async def test_what_has_no_way_back_is_not_begun(tmp_path: Path, either_kv: KVServer, path: str) -> None:
    it, place = deployer(tmp_path, either_kv), target(path)
    either_kv.put(path, **pair(FORMER))
    either_kv.keep(path, 1)
    with pytest.raises(DeployFailed, match=r"keeps 1 versions.*Raise max_versions"):
        await it.deploy(place, material(NEW))
    either_kv.keep(path, 2)
    await it.deploy(place, material(NEW))
    with pytest.raises(DeployFailed, match="keeps 2 versions"):
        await it.deploy(place, material(NEWER))
    either_kv.put(path, **pair(NEW))
    with pytest.raises(DeployFailed, match="its version 1, which had the former certificate, is not kept"):
        await it.undo(place)
    either_kv.delete(path)
    with pytest.raises(DeployFailed, match="is not there or deleted") as failed:
        await it.present(place)
    assert failed.value.kind == "not-found"
    either_kv.put(f"{path}-bare", **{"tls.crt": FORMER.chain_pem.decode()})
    with pytest.raises(
        DeployFailed, match=r"has no private key beside tls.crt. Say under which key: private_key"
    ):
        await it.deploy(target(f"{path}-bare"), material(NEW))


async def test_an_app_role_with_just_what_it_needs_is_enough(
    tmp_path: Path, real_kv: RealKV, path: str
) -> None:
    real_kv.put(path, **pair(FORMER), note="kept")
    real_kv.put("elsewhere/a", **pair(FORMER))
    role, secret = real_kv.vault.role_with(POLICY)
    file = tmp_path / "secret"
    file.write_text(secret)
    it, place = deployer(tmp_path, real_kv, role_id=role, secret_id_file=str(file)), target(path)
    await it.deploy(place, material(NEW))
    await it.undo(place)
    await it.forget(place)
    assert real_kv.get(path)[0] == {**pair(FORMER), "note": "kept"}
    with pytest.raises(DeployFailed, match="Grant read and patch on secret/data/elsewhere/a") as failed:
        await it.deploy(target("elsewhere/a"), material(NEW))
    assert failed.value.kind == "permission"
    # Without versions there is neither check-and-set nor a way back.
    real_kv.vault.call("old/web/one", **pair(FORMER))
    old = deployer(tmp_path, real_kv, mounts=["old"])
    with pytest.raises(DeployFailed, match="its mount is no KV of version 2"):
        await old.present(target_at("vault://corp/old/secret/web/one?key=tls.crt", FORMER))


async def test_one_that_is_down_is_asked_again_later(tmp_path: Path) -> None:
    down = FakeKV(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(DeployFailed) as failed:
        await deployer(tmp_path, down).present(target("web/a"))
    assert (failed.value.kind, failed.value.again) == ("unavailable", True)


@pytest.mark.parametrize(
    ("uri", "taken"),
    [
        ("vault://corp/team/kv/secret/web/a/b?key=tls.crt", True),
        ("vault://corp/secret/secret/web/a%3Fb?key=tls.crt", True),
        ("vault://corp/secret/secret/db/a?key=tls.crt", False),
        ("vault://other/secret/secret/web/a?key=tls.crt", False),
        ("vault://corp/elsewhere/secret/web/a?key=tls.crt", False),
        ("vault://corp/secret/secret/web/a", False),
        ("vault://corp/secret", False),
        ("vault://corp/pki/issuer/1-2", False),
        ("k8s://corp/secret/secret/web?key=tls.crt", False),
    ],
)
def test_it_takes_secrets_of_its_mounts_and_paths(tmp_path: Path, uri: str, taken: bool) -> None:
    server = FakeKV(url="https://vault.example:8200")
    it = deployer(tmp_path, server, mounts=["secret", "team/kv/"], paths=["web/**"], collector="corp")
    assert it.takes(target_at(uri, FORMER)) is taken
