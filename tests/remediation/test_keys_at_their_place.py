"""Keys that are made where they will live: a CSR comes from there, the key never travels, and a crash orders nothing twice."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certwatch.plugins.deployer import DeployerContext
from certwatch.remediation.deployers.command import CommandConfig, CommandDeployer
from certwatch.remediation.material import checked_csr, csr_for, new_key, split_pem
from certwatch.remediation.stopped import StepFailed
from tests.remediation.stage import WWW, Crash, Stage, stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """One is enough: each operation is a process of its own."""
    return "asyncio"


#: An appliance: it makes its keys, gives CSRs of them, and takes certificates.
APPLIANCE = """#!{python}
import json, pathlib, sys
sys.path.insert(0, {root!r})
from certwatch.remediation.material import csr_for, key_pem_of, new_key
said = json.load(sys.stdin)
folder = pathlib.Path({folder!r})
with (folder / "told").open("a") as told:
    told.write(json.dumps(said) + "\\n")
place, key, kept = folder / "0.pem", folder / "0.key", folder / "kept.json"
match said["operation"]:
    case "csr":
        new = folder / "new.key"
        if not new.exists():
            made = new_key(said["key_type"])
            new.write_bytes(key_pem_of(made))
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        made = load_pem_private_key(new.read_bytes(), None)
        print(csr_for(made, said["names"]).decode())
    case "deploy":
        if not kept.exists():
            kept.write_text(json.dumps([place.read_text(), key.read_text()]))
        place.write_text(said["chain_pem"])
        key.write_bytes((folder / "new.key").read_bytes())
    case "present":
        print(place.read_text())
    case "undo" if kept.exists():
        former = json.loads(kept.read_text())
        place.write_text(former[0])
        key.write_text(former[1])
    case "forget":
        kept.unlink(missing_ok=True)
"""


@contextmanager
def appliance(folder: Path, **policy: Any) -> Iterator[Stage]:
    with stage(folder, verify={"within": "5s"}, **policy) as it:
        script = folder / "appliance"
        script.write_text(
            APPLIANCE.format(python=sys.executable, root=str(Path.cwd()), folder=str(it.folder))
        )
        script.chmod(0o755)
        config = CommandConfig(command=[str(script)], locations=["file://*"], makes_keys=True)
        it.policy = replace(it.policy, deployers=(CommandDeployer(config, DeployerContext(clock=it.clock)),))
        yield it


def told(it: Stage) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (it.folder / "told").read_text().splitlines()]


async def test_no_key_travels(tmp_path: Path) -> None:
    with appliance(tmp_path) as it:
        done = await it.carry_out(it.plan())
        assert (done.state, done.why) == ("verified", "")
        said = told(it)
        assert [each["operation"] for each in said] == ["csr", "deploy", "activate", "forget"]
        assert said[0]["names"] == [WWW]
        assert "key_pem" not in said[1]
        leaf = x509.load_der_x509_certificate(split_pem(it.issuer.issued[0])[0])
        key = serialization.load_pem_private_key((it.folder / "0.key").read_bytes(), None)
        assert key.public_key() == leaf.public_key()


@pytest.mark.parametrize("step", ["issue-done", "deploy-begun", "put"])
async def test_a_crash_orders_no_second_certificate(tmp_path: Path, step: str) -> None:
    with appliance(tmp_path) as it:
        plan = it.plan()
        it.crash_at = step
        with pytest.raises(Crash):
            await it.carry_out(plan)
        assert (await it.carry_out(plan)).state == "verified"
        assert len(it.issuer.issued) == 1


async def test_several_places_share_a_key_that_is_made_here(tmp_path: Path) -> None:
    with appliance(tmp_path, servers=2) as it:
        plan = it.plan()
        await it.carry_out(plan)
        assert {each["operation"] for each in told(it)} & {"csr"} == set()
        assert "key_pem" in next(each for each in told(it) if each["operation"] == "deploy")


def test_a_csr_for_something_else_is_not_handed_on() -> None:
    key = new_key("ec-p256")
    assert checked_csr(csr_for(key, [WWW]), [WWW], "ec-p256").startswith(b"-----BEGIN CERTIFICATE REQUEST")
    other = ec.generate_private_key(ec.SECP384R1())
    small = new_key("rsa-2048")
    for csr, says in (
        (csr_for(key, [WWW, "dns:more.example.com"]), "other names"),
        (csr_for(key, ["dns:other.example.com"]), "other names"),
        (csr_for(other, [WWW]), "ec-p384, and the policy has ec-p256"),
        (csr_for(small, [WWW]), "rsa-2048"),
        (b"", "no CSR"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "no CSR"),
        (csr_for(key, [WWW]).replace(b"M", b"N", 1), "no CSR"),
    ):
        with pytest.raises(StepFailed, match=says):
            checked_csr(csr, [WWW], "ec-p256")
