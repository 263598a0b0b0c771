"""A command of the user's as deployer: what it is told, and what its end means."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from certwatch.model.clock import system_clock
from certwatch.plugins.deployer import DeployerContext, DeployFailed
from certwatch.plugins.testing import make_certificate
from certwatch.remediation.deployers.command import CommandConfig, CommandDeployer
from tests.support.remediation import material, target

pytestmark = pytest.mark.anyio
FORMER = make_certificate(key_number=521)
NEW = make_certificate(key_number=522)
#: Keeps a certificate in a file, as the protocol wants it; writes down what it was told.
SCRIPT = """#!/usr/bin/env python3
import json, pathlib, sys
said = json.load(sys.stdin)
folder = pathlib.Path(__file__).parent
with (folder / "told").open("a") as told:
    told.write(json.dumps(said) + "\\n")
place, kept = folder / "place.pem", folder / "kept.pem"
match said["operation"]:
    case "deploy":
        if not kept.exists():
            kept.write_bytes(place.read_bytes())
        place.write_text(said["chain_pem"] + said["key_pem"])
    case "present":
        print(place.read_text())
    case "undo" if kept.exists():
        place.write_bytes(kept.read_bytes())
    case "forget":
        kept.unlink(missing_ok=True)
"""
PLACE = target("file:///srv/appliance/web.jks#site", FORMER)


def deployer(folder: Path, script: str = SCRIPT, **more: Any) -> CommandDeployer:
    path = folder / "deploy"
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    config = CommandConfig(command=[str(path)], locations=["file:///srv/appliance/*"], **more)
    return CommandDeployer(config, DeployerContext(clock=system_clock))


def told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


async def test_the_protocol_from_the_first_word_to_the_last(tmp_path: Path) -> None:
    it = deployer(tmp_path)
    (tmp_path / "place.pem").write_bytes(FORMER.pem)
    await it.deploy(PLACE, material(NEW))
    await it.activate([PLACE])
    assert await it.present(PLACE) == (NEW.der,)
    await it.undo(PLACE)
    assert await it.present(PLACE) == (FORMER.der,)
    await it.forget(PLACE)
    place = {
        "location": PLACE.uri,
        "labels": {},
        "former_fingerprint_sha256": PLACE.former.fingerprint_sha256.hex(),
    }
    assert told(tmp_path) == [
        {
            "operation": "deploy",
            **place,
            "chain_pem": NEW.chain_pem.decode(),
            "key_pem": NEW.key_pem.decode(),
            "fingerprint_sha256": material(NEW).certificate.fingerprint_sha256.hex(),
        },
        {"operation": "activate", "locations": [PLACE.uri]},
        {"operation": "present", **place},
        {"operation": "undo", **place},
        {"operation": "present", **place},
        {"operation": "forget", **place},
    ]


async def test_its_last_words_are_the_reason(tmp_path: Path) -> None:
    it = deployer(tmp_path, "#!/bin/sh\necho no such host >&2; exit 4\n")
    with pytest.raises(DeployFailed, match=r"deploy: .*ended with 4: no such host"):
        await it.deploy(PLACE, material(NEW))


async def test_one_that_does_not_end_is_ended(tmp_path: Path) -> None:
    it = deployer(tmp_path, "#!/bin/sh\nexec sleep 600\n", seconds=0.2)
    with pytest.raises(DeployFailed, match=r"not done within 0\.2 s"):
        await it.activate([PLACE])


async def test_one_that_reads_nothing_is_no_error(tmp_path: Path) -> None:
    await deployer(tmp_path, "#!/bin/sh\nexit 0\n").deploy(PLACE, material(NEW))


async def test_the_key_is_in_no_message(tmp_path: Path) -> None:
    it = deployer(tmp_path, "#!/bin/sh\ncat; exit 1\n")
    with pytest.raises(DeployFailed) as failed:
        await it.deploy(PLACE, material(NEW))
    assert "ended with 1" in failed.value.message
    for line in NEW.key_pem.decode().splitlines()[1:-1]:
        assert line[:16] not in failed.value.message


async def test_one_that_prints_for_ever_is_ended(tmp_path: Path) -> None:
    with pytest.raises(DeployFailed, match="printed more than"):
        await deployer(tmp_path, "#!/bin/sh\nexec yes\n").present(PLACE)


@pytest.mark.parametrize(
    ("uri", "taken"),
    [("file:///srv/appliance/a.jks#x", True), ("file:///srv/other", False), ("k8s://a/b/secret/c", False)],
)
def test_only_its_locations_are_taken(tmp_path: Path, uri: str, taken: bool) -> None:
    assert deployer(tmp_path).takes(target(uri, FORMER)) is taken
