import pytest

from certwatch.engine import batches


@pytest.fixture
def anyio_backend() -> str:
    """One loop is enough here: what depends on the loop is tested in tests/engine."""
    return "asyncio"


@pytest.fixture(autouse=True)
def quick_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_SECONDS", 0.001)
