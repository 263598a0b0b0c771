"""The linter as a process beside the daemon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certwatch.engine import lint
from certwatch.engine.lint import Linter, LinterFailed
from certwatch.plugins.testing import make_ca, make_certificate
from tests.engine.stage import Stage, stage

pytestmark = pytest.mark.anyio

NAMELESS = make_certificate(issuer=make_ca(), subject="")
GOOD = make_certificate(issuer=make_ca())


@asynccontextmanager
async def linter(life: Stage) -> AsyncIterator[tuple[Linter, asyncio.Event]]:
    found = asyncio.Event()
    made = Linter(life.store, life.writer, found.set)
    made.wanted.set()
    task = asyncio.create_task(made.run())
    try:
        yield made, found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert made._process is None


async def test_what_it_finds_comes_to_the_places_that_serve_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        life.source.serve("x://a/", NAMELESS)
        life.source.serve("x://b/", GOOD)
        await life.scan_and_judge()
        async with linter(life) as (_, found), asyncio.timeout(15):
            await found.wait()
        with life.view.reading() as reader:
            due = {str(each.served.location.uri): each.lints for each in reader.due(life.clock(), 10)}
            assert reader.unlinted(10, linter=reader_version(life)) == []
        assert any(lint.profile == "rfc5280" for lint in due["x://a/"][next(iter(due["x://a/"]))])


def reader_version(life: Stage) -> str:
    from certwatch.pki.lint import linter

    return linter()


async def test_one_that_hangs_is_killed_and_the_next_certificate_is_linted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as life:
        made = Linter(life.store, life.writer, lambda: None)
        try:
            await made._start()
            monkeypatch.setattr(lint, "LINT_SECONDS", 0.0)
            assert await made._lint(NAMELESS.der) == []
            assert made._process is None
            monkeypatch.undo()
            assert await made._lint(NAMELESS.der) != []
        finally:
            await made._end()


async def test_one_that_was_killed_costs_the_certificate_that_it_had_and_no_other(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        made = Linter(life.store, life.writer, lambda: None)
        try:
            await made._start()
            process = made._process
            assert process is not None
            process.kill()
            await process.wait()
            assert await made._lint(NAMELESS.der) == []
            assert await made._lint(NAMELESS.der) != []
            # What breaks the format breaks nothing of the linter.
            assert await made._lint(b"no certificate") == []
            assert await made._lint(NAMELESS.der) != []
        finally:
            await made._end()


async def test_what_is_too_large_is_not_given_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "MAX_BYTES", 10)
    async with stage(tmp_path) as life:
        made = Linter(life.store, life.writer, lambda: None)
        assert await made._lint(NAMELESS.der) == []
        assert made._process is None


async def test_one_that_does_not_start_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    async with stage(tmp_path) as life:
        made = Linter(life.store, life.writer, lambda: None)
        with pytest.raises(LinterFailed, match="does not start"):
            await made._start()


async def test_nothing_is_linted_unless_somebody_wants_it(tmp_path: Path) -> None:
    async with stage(tmp_path) as life:
        made = Linter(life.store, life.writer, lambda: None)
        task = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        assert made._process is None
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
