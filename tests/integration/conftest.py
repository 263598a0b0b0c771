"""Far sides that several modules ask: each runs for one module's tests, the kube-apiserver for all that do no harm to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.plugins.testing import FakeClock
from tests.support.aws import AWS, moto
from tests.support.databases import DatabaseServer, mariadb, postgresql
from tests.support.inventories import Tried, opened
from tests.support.json_server import JSONServer, json_server
from tests.support.kubernetes import APIServer, api_server
from tests.support.kubernetes_crds import install
from tests.support.vault import FakeVault, RealVault, VaultServer, fake_vault, vault_itself
from tests.support.vault_kv import FakeKV, KVServer, RealKV


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    with api_server(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@pytest.fixture(scope="session")
def extensions(server: APIServer) -> None:
    """cert-manager's, trust-manager's, Gateway API's, OpenShift's and the Prometheus operator's objects can be written."""
    install(server)


@pytest.fixture
def namespace(server: APIServer, request: pytest.FixtureRequest) -> str:
    """One for each test, so that none sees another's objects."""
    name = f"test-{abs(hash(request.node.nodeid)) % 10**10}"
    server.namespace(name)
    return name


@pytest.fixture
def tried(tmp_path: Path) -> Iterator[Tried]:
    """An inventory of this test alone, beside what else it has in its folder."""
    store = tmp_path / "store"
    store.mkdir()
    with opened("sqlite", store) as inventory:
        yield inventory


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AWS]:
    with moto(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def aws(moto_server: AWS) -> AWS:
    """With nothing in it."""
    moto_server.reset()
    return moto_server


@pytest.fixture(scope="module")
def postgres() -> Iterator[DatabaseServer]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def maria() -> Iterator[DatabaseServer]:
    with mariadb() as server:
        yield server


@pytest.fixture
def vault() -> Iterator[tuple[FakeVault, JSONServer]]:
    with fake_vault() as served:
        yield served


@pytest.fixture(scope="module")
def real_vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealVault]:
    """Where tools/vault.sh has built it."""
    with vault_itself(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture(params=["documented", "itself"])
def either_vault(request: pytest.FixtureRequest, tried: Tried) -> VaultServer:
    """With nothing issued, by whose clock the inventory goes."""
    server: VaultServer
    if request.param == "itself":
        server = request.getfixturevalue("real_vault")
        for serial in server.listed():
            server.forget(serial)
    else:
        server = request.getfixturevalue("vault")[0]
    tried.clock = FakeClock(server.now)
    return server


@pytest.fixture
def fake_kv() -> Iterator[FakeKV]:
    held = FakeKV()
    with json_server(held.answer) as server:
        held.url = server.url
        yield held


@pytest.fixture(scope="module")
def real_kv(real_vault: RealVault) -> RealKV:
    return RealKV(real_vault)


@pytest.fixture(params=["documented", "itself"])
def either_kv(request: pytest.FixtureRequest) -> KVServer:
    server: KVServer = request.getfixturevalue("fake_kv" if request.param == "documented" else "real_kv")
    return server
