"""One kube-apiserver for all tests that do no harm to it."""

from collections.abc import Iterator

import pytest

from tests.support.kubernetes import APIServer, api_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[APIServer]:
    with api_server(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@pytest.fixture
def namespace(server: APIServer, request: pytest.FixtureRequest) -> str:
    """One for each test, so that none sees another's objects."""
    name = f"test-{abs(hash(request.node.nodeid)) % 10**10}"
    server.namespace(name)
    return name
