"""PKCS#12 keystores: the same passphrase and name, another key and chain; read by openssl."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed, Target
from certwatch.plugins.testing import Issued, make_ca, make_certificate
from certwatch.remediation.deployers.keystore import KeystoreConfig, KeystoreDeployer
from tests.support.openssl import openssl
from tests.support.remediation import material, target

pytestmark = pytest.mark.anyio
CA = make_ca("Issuing CA", issuer=make_ca("Root", key_number=560), key_number=561)
FORMER = make_certificate(issuer=CA, key_number=562)
NEW = make_certificate(issuer=CA, key_number=563)
NEWER = make_certificate(issuer=CA, key_number=564)


def store(folder: Path, issued: Issued = FORMER, *, more: tuple[Issued, ...] = ()) -> tuple[Path, Target]:
    path = folder / "site.p12"
    above = [issued.issuers[0], *(each.certificate for each in more)]
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"tomcat",
            issued.key,
            issued.certificate,
            above,
            BestAvailableEncryption(b"changeit"),
        )
    )
    path.chmod(0o644)
    (folder / "pass").write_text("changeit\n")
    return path, target(f"file://{path}#tomcat", FORMER)


def deployer(folder: Path, **more: object) -> KeystoreDeployer:
    config = KeystoreConfig(paths=[f"{folder}/*.p12"], passphrase_file=str(folder / "pass"), **more)  # type: ignore[arg-type]
    return KeystoreDeployer(config, DeployerContext(clock=system_clock))


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def test_the_keystore_is_written_anew_and_can_be_put_back(tmp_path: Path) -> None:
    path, place = store(tmp_path)
    before = path.read_bytes()
    it = deployer(tmp_path)
    assert it.takes(place)
    await it.deploy(place, material(NEWER))
    await it.deploy(place, material(NEW))
    assert await it.present(place) == (NEW.der, CA.der)
    said = openssl("pkcs12", "-in", path, "-passin", "pass:changeit", "-nodes").decode()
    assert "friendlyName: tomcat" in said
    assert NEW.pem.decode().strip() in said
    assert "".join(NEW.key_pem.decode().split("\n")[1:-2]) in said.replace("\n", "")
    # It has a key: not for everybody, though it was.
    assert path.stat().st_mode & 0o777 == 0o640
    await it.undo(place)
    assert path.read_bytes() == before
    await it.forget(place)
    await it.forget(place)
    assert names(tmp_path) == ["pass", "site.p12"]


async def test_one_that_holds_something_else_stays_as_it_is(tmp_path: Path) -> None:
    path, place = store(tmp_path, NEWER)
    with pytest.raises(DeployFailed, match="another certificate"):
        await deployer(tmp_path).deploy(place, material(NEW))
    path, place = store(tmp_path, more=(make_ca("Trusted by hand", key_number=565),))
    with pytest.raises(DeployFailed, match="more than one key"):
        await deployer(tmp_path).deploy(place, material(NEW))
    (tmp_path / "pass").write_text("wrong\n")
    with pytest.raises(DeployFailed, match="no PKCS#12 that the passphrase of the config opens"):
        await deployer(tmp_path).deploy(place, material(NEW))
    path.write_bytes(b"not a keystore")
    with pytest.raises(DeployFailed, match="no PKCS#12"):
        await deployer(tmp_path).deploy(place, material(NEW))
    path.unlink()
    with pytest.raises(DeployFailed, match="is not there"):
        await deployer(tmp_path).deploy(place, material(NEW))
    # Nothing was begun: nothing is to be undone.
    await deployer(tmp_path).undo(place)


@pytest.mark.parametrize(
    ("uri", "taken"),
    [("site.p12", True), ("site.p12#tomcat", True), ("site.jks#tomcat", False), ("site.pem", False)],
)
def test_only_pkcs12_files_of_its_paths_are_taken(tmp_path: Path, uri: str, taken: bool) -> None:
    assert deployer(tmp_path).takes(target(f"file://{tmp_path}/{uri}", FORMER)) is taken
    assert not deployer(tmp_path).takes(target(f"file:///elsewhere/{uri}", FORMER))
