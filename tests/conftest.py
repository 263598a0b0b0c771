"""What all tests share. Builders, not fixtures of fixtures: see `certwatch.plugins.testing`."""

import pytest


@pytest.fixture(params=["asyncio", "asyncio+uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, object]]:
    """Async tests run on both event loops, in debug mode on the standard one."""
    if request.param == "asyncio+uvloop":
        return "asyncio", {"use_uvloop": True}
    return "asyncio", {"debug": True}
