"""One kube-apiserver for all tests that do no harm to it."""

from collections.abc import Iterator

import pytest

from tests.support.kubernetes import APIServer, api_server
from tests.support.kubernetes_crds import install


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
