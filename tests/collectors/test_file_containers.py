"""Containers in files: places, passphrases, and entries that cannot be seen for now."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
    pkcs12,
)

from certwatch.model.location import file_location
from certwatch.model.observation import Incomplete, Observation
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock, collect, make_ca, make_certificate
from collectors.file import FileCollector

pytestmark = pytest.mark.anyio

STORES = Path(__file__).parents[1] / "data/keystores"
ROOT = make_ca()
MIDDLE = make_ca("Middle", issuer=ROOT, key_number=101)
LEAF = make_certificate(issuer=MIDDLE)


async def look(*paths: Path, **config: Any) -> list[Observation]:
    results = await collect(FileCollector, {"paths": [str(path) for path in paths], **config})
    assert all(isinstance(each, Observation) for each in results), results
    return [each for each in results if isinstance(each, Observation)]


def store(passphrase: str | None = None, name: bytes = b"site") -> bytes:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return pkcs12.serialize_key_and_certificates(
        name, LEAF.key, LEAF.certificate, [MIDDLE.certificate], encryption
    )


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("kind", "fact"), [("jks", "jks"), ("jceks", "jceks"), ("p12", "pkcs12")])
async def test_each_key_is_a_place_of_its_own_and_all_that_is_trusted_one_together(
    kind: str, fact: str, tmp_path: Path
) -> None:
    # The ending says nothing: contents do.
    path = Path(shutil.copy(STORES / f"keytool.{kind}", tmp_path / "store.data"))
    trusted, root, site = await look(path, passphrase="changeit")
    assert [each.location for each in (trusted, root, site)] == [
        file_location(str(path)),
        file_location(str(path), "root"),
        file_location(str(path), "site"),
    ]
    assert site.location.endswith("store.data#site")
    assert trusted.facts == {"arrangement": "bundle", "container": fact}
    assert site.facts == {"arrangement": "chain", "container": fact, "key_match": True}
    assert (len(trusted.chain), len(root.chain), len(site.chain)) == (2, 1, 2)
    assert trusted.error is None


async def test_the_passphrase_for_the_path_comes_before_the_one_for_all(tmp_path: Path) -> None:
    write(tmp_path / "a" / "one.p12", store("for a"))
    write(tmp_path / "b" / "two.p12", store("for all"))
    given = {"paths": [str(tmp_path / "a")], "passphrase": "for a"}
    one, two = await look(tmp_path, passphrase="for all", passphrases=[given])
    assert (one.facts["key_match"], two.facts["key_match"]) == (True, True)


async def test_a_store_without_its_passphrase_says_so_and_retires_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "good.pem", LEAF.pem)
    path = write(tmp_path / "store.p12", store("secret"))
    _, found = await look(tmp_path)
    assert (found.location, found.chain) == (file_location(str(path)), ())
    assert found.error is not None
    assert found.error.kind == "passphrase"
    assert "secret" not in found.error.message


async def test_no_passphrase_is_shown_anywhere(tmp_path: Path) -> None:
    config = FileCollector.Config.model_validate(
        {
            "paths": [str(tmp_path)],
            "passphrase": "hunter2",
            "passphrases": [{"paths": ["x"], "passphrase": "hunter2"}],
        }
    )
    path = write(tmp_path / "store.p12", store("other"))
    collector = FileCollector("x", config, CollectorContext(clock=FakeClock()))
    results = [each async for each in collector.collect()]
    assert path.name in str(results)
    assert "hunter2" not in str(results) + repr(config) + config.model_dump_json()


async def collecting(collector: FileCollector) -> tuple[dict[str, Observation], list[Incomplete]]:
    results = [each async for each in collector.collect()]
    seen = {each.location.rpartition("/")[2]: each for each in results if isinstance(each, Observation)}
    return seen, [each for each in results if isinstance(each, Incomplete)]


def collector_of(path: Path, **config: Any) -> FileCollector:
    checked = FileCollector.Config.model_validate({"paths": [str(path)], **config})
    return FileCollector("x", checked, CollectorContext(clock=FakeClock()))


async def test_entries_of_a_store_that_breaks_are_told_and_not_gone(tmp_path: Path) -> None:
    path = write(tmp_path / "store.p12", store("secret"))
    collector = collector_of(tmp_path, passphrase="secret")
    before, incomplete = await collecting(collector)
    assert (list(before), incomplete) == (["store.p12#site"], [])
    path.write_bytes(store("secret")[:-200])
    for _ in range(2):
        broken, incomplete = await collecting(collector)
        assert list(broken) == ["store.p12", "store.p12#site"]
        assert {each.error.kind for each in broken.values() if each.error} == {"malformed"}
        assert incomplete == []
    path.write_bytes(store("secret", b"renamed"))
    after, incomplete = await collecting(collector)
    assert (list(after), incomplete) == (["store.p12#renamed"], [])
    path.unlink()
    assert await collecting(collector) == ({}, [])


async def test_after_a_start_a_broken_store_keeps_its_pattern_from_retiring(tmp_path: Path) -> None:
    write(tmp_path / "store.p12", store("secret")[:-200])
    _, (incomplete,) = await collecting(collector_of(tmp_path))
    assert (incomplete.scope, incomplete.error.kind) == (str(tmp_path), "malformed")
    # With a passphrase that was given and does not open it, there may have been entries; without one, never.
    write(tmp_path / "store.p12", store("secret"))
    assert len((await collecting(collector_of(tmp_path, passphrase="wrong")))[1]) == 1
    assert (await collecting(collector_of(tmp_path)))[1] == []


async def test_a_store_is_read_once_while_it_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "open.p12", store("secret"))
    write(tmp_path / "shut.p12", store("other"))
    collector = collector_of(tmp_path, passphrase="secret")
    first = [each async for each in collector.collect()]

    def opened(path: str, *rest: Any) -> int:
        raise AssertionError(path)

    monkeypatch.setattr("os.open", opened)
    again = [each async for each in collector.collect()]
    assert [each for each in again if isinstance(each, Observation)] == [
        each for each in first if isinstance(each, Observation)
    ]


async def test_what_is_called_a_keystore_and_is_none_is_an_error(tmp_path: Path) -> None:
    for data, why in ((b"", "empty"), (b"\0" * 100, "no keystore of a kind that is known")):
        results = await collect(FileCollector, {"paths": [str(write(tmp_path / "x.jks", data).parent)]})
        found, incomplete = results
        assert isinstance(incomplete, Incomplete)
        assert isinstance(found, Observation)
        assert found.error is not None
        assert (found.error.kind, why in found.error.message) == ("malformed", True)


async def test_pkcs7_has_its_key_beside_it_as_pem_has(tmp_path: Path) -> None:
    for encoding, name in ((Encoding.DER, "der.p7b"), (Encoding.PEM, "pem.p7b")):
        data = pkcs7.serialize_certificates([MIDDLE.certificate, LEAF.certificate], encoding)
        path = write(tmp_path / name, data)
        write(path.with_suffix(".key"), LEAF.key_pem)
        (found,) = await look(path)
        assert found.location == file_location(str(path))
        assert found.chain == (LEAF.der, MIDDLE.der)
        assert found.facts == {"arrangement": "chain", "container": "pkcs7", "key_match": True}


async def test_pem_with_a_damaged_list_in_it_keeps_its_certificates_and_says_so(tmp_path: Path) -> None:
    path = write(
        tmp_path / "site.pem", LEAF.chain_pem + b"-----BEGIN X509 CRL-----\n?\n-----END X509 CRL-----\n"
    )
    (found,) = await look(path)
    assert found.chain == LEAF.chain_der
    assert found.error is not None
    assert "X509 CRL at line" in found.error.message


async def test_an_encrypted_key_beside_pem_is_opened_with_its_passphrase(tmp_path: Path) -> None:
    sealed = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    path = write(tmp_path / "site.pem", LEAF.pem + sealed)
    (found,) = await look(path)
    assert found.facts == {"arrangement": "chain", "key_encrypted": True}
    (found,) = await look(path, passphrase="secret")
    assert found.facts == {"arrangement": "chain", "key_match": True}


def kubeconfig(**user: str) -> bytes:
    cluster = {"name": "prod", "cluster": {"certificate-authority-data": base64.b64encode(ROOT.pem).decode()}}
    return json.dumps({"clusters": [cluster], "users": [{"name": "ad min", "user": user}]}).encode()


async def test_a_kubeconfig_has_a_place_for_each_cluster_and_user(tmp_path: Path) -> None:
    data = kubeconfig(
        **{
            "client-certificate-data": base64.b64encode(LEAF.pem).decode(),
            "client-key-data": base64.b64encode(LEAF.key_pem).decode(),
        }
    )
    cluster, user = await look(write(tmp_path / "config", data))
    assert cluster.location.endswith("/config#cluster/prod")
    assert cluster.facts == {"arrangement": "bundle", "container": "kubeconfig"}
    assert user.location.endswith("/config#user/ad%20min")
    assert (user.chain, user.facts["key_match"]) == ((LEAF.der,), True)


async def test_files_that_a_kubeconfig_names_are_read_and_watched(tmp_path: Path) -> None:
    path = write(
        tmp_path / "config", kubeconfig(**{"client-certificate": "pki/a.crt", "client-key": "pki/a.key"})
    )
    certificate = write(tmp_path / "pki" / "a.crt", LEAF.chain_pem)
    write(tmp_path / "pki" / "a.key", LEAF.key_pem)
    collector = collector_of(path)
    seen, _ = await collecting(collector)
    user = seen["ad%20min"]
    assert (user.chain, user.facts["key_match"]) == (LEAF.chain_der, True)
    renewed = make_certificate(issuer=MIDDLE)
    certificate.write_bytes(renewed.pem)
    seen, _ = await collecting(collector)
    assert seen["ad%20min"].chain == (renewed.der,)
    certificate.unlink()
    seen, _ = await collecting(collector)
    gone = seen["ad%20min"].error
    assert gone is not None
    assert (gone.kind, "pki/a.crt: no such file" in gone.message) == ("not-found", True)


@pytest.mark.parametrize("named", ["/dev/zero", "/proc/self/mem", "x\0y", "../" * 100 + "dev/random", ""])
async def test_a_kubeconfig_that_names_what_no_one_should_read_is_an_error(
    tmp_path: Path, named: str
) -> None:
    found = await look(write(tmp_path / "config", kubeconfig(**{"client-certificate": named})))
    assert len(found) == (2 if named else 1)
    assert all(each.error is not None for each in found[1:])


async def test_an_openvpn_profile_has_an_authority_and_a_certificate(tmp_path: Path) -> None:
    data = b"client\ndev tun\nremote vpn.example.com\n<ca>\n%s</ca>\ncert me.p12.pem\n" % ROOT.pem
    write(tmp_path / "me.p12.pem", LEAF.pem)
    authority, own = await look(write(tmp_path / "me.ovpn", data))
    assert [each.location.rpartition("#")[2] for each in (authority, own)] == ["ca", "cert"]
    assert authority.chain == (ROOT.der,)
    assert own.chain == (LEAF.der,)


async def test_a_keystore_that_a_profile_names_is_opened(tmp_path: Path) -> None:
    write(tmp_path / "me.p12", store("secret"))
    profile = write(tmp_path / "me.ovpn", b"client\ndev tun\nremote vpn.example.com\npkcs12 me.p12\n")
    (found,) = await look(profile, passphrase="secret")
    assert found.location.endswith("/me.ovpn#pkcs12/site")
    assert (found.chain, found.facts["key_match"]) == ((LEAF.der, MIDDLE.der), True)
    (shut,) = (
        each
        for each in await collect(FileCollector, {"paths": [str(profile)]})
        if isinstance(each, Observation)
    )
    assert shut.error is not None
    assert shut.error.kind == "passphrase"


async def test_an_alias_may_be_anything(tmp_path: Path) -> None:
    path = write(tmp_path / "store.p12", store(name="a/b #?%\n é".encode()))
    (found,) = await look(path)
    assert found.location.endswith("/store.p12#a/b%20%23%3F%25%0A%20%C3%A9")
    endless = write(tmp_path / "long.p12", store(name=b"x" * 5000))
    (found,) = await look(endless)
    assert len(found.location) < 500
