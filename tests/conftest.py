"""What all tests share. Builders, not fixtures of fixtures: see `certwatch.plugins.testing`."""

from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import kube_build, postgresql_inventories

# How long an example takes is the machine's business, not the test's.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of Kubernetes last: their servers are built beside the others (`make test`)."""
    items.sort(key=lambda item: item.get_closest_marker("kubernetes") is not None)
    for item in items:
        # The first one waits until the server has been made and started.
        if "postgresql" in item.nodeid and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(120))


def pytest_unconfigure() -> None:
    postgresql_inventories.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """The wait for a build is no test's own time."""
    marker = item.get_closest_marker("kubernetes")
    if marker is not None:
        kube_build.wait_for(marker.args or ("kube-apiserver",))
    return (yield)


@pytest.fixture(params=["asyncio", "asyncio+uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Async tests run on both event loops, in debug mode on the standard one."""
    if request.param == "asyncio+uvloop":
        return "asyncio", {"use_uvloop": True}
    return "asyncio", {"debug": True}
