"""`_bulk`: each item has its own fate, and what is sent twice is there once. The far side here follows the API as
documented; a real server is asked in tests/integration/test_events_bulk.py."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

import exporters.events as events_module
from certwatch.model.finding import FindingID
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import FakeClock
from certwatch.telemetry.metrics import EVENTS_LOST
from exporters.events import EventsConfig, EventsExporter
from exporters.events.config import BulkKeys
from exporters.events.sinks import SinkError
from tests.exporters.test_events import FINDING, SERVED, View
from tests.support.bulk_server import bulk_server
from tests.support.web_server import Request

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "FIRST_RETRY_SECONDS", 0.01)


def exporter(folder: Path, url: str, name: str = "bulk", **keys: Any) -> EventsExporter:
    config = EventsConfig(bulk=BulkKeys(url=url, **keys))
    return EventsExporter(
        name, config, ExporterContext(clock=FakeClock(), view=View(), state_folder=folder / name)
    )


@asynccontextmanager
async def running(events: EventsExporter) -> AsyncIterator[EventsExporter]:
    await events.start()
    task = asyncio.create_task(events.run())
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_are_created_with_their_own_id_after_a_template_was_put(tmp_path: Path) -> None:
    async with bulk_server() as store:
        async with running(
            exporter(tmp_path, store.web.url + "/base?x=1", index="logs-certs-prod")
        ) as events:
            await events.publish(News(changed=(SERVED,), opened=(FINDING,)))
            await store.web.until(lambda: len(store.documents) == 2)
        assert store.actions == ["location-changed", "finding-opened"]
        assert all(id == each["event"]["id"] for id, each in store.documents.items())
        template = store.templates["logs-certs-prod"]
        assert template["data_stream"] == {}
        properties = template["template"]["mappings"]["properties"]
        assert properties["server"]["properties"]["ip"] == {"type": "ip"}
        assert [each.target for each in store.web.requests] == [
            "/base/_index_template/logs-certs-prod?x=1",
            "/base/_bulk?x=1",
        ]


async def test_an_item_that_is_refused_for_good_is_dropped_and_counted_and_the_others_stay(
    tmp_path: Path,
) -> None:
    before = EVENTS_LOST.labels("refusing", "refused")._value.get()
    async with bulk_server() as store:
        store.says = lambda document: 400 if document["event"]["action"] == "location-changed" else 0
        async with running(exporter(tmp_path, store.web.url, "refusing", template=False)) as events:
            await events.publish(News(changed=(SERVED,), opened=(FINDING,)))
            await store.web.until(lambda: bool(store.documents))
        assert store.actions == ["finding-opened"]
        assert EVENTS_LOST.labels("refusing", "refused")._value.get() == before + 1


async def test_an_item_that_finds_the_queue_full_is_sent_again_without_the_others(tmp_path: Path) -> None:
    busy = [429, 429]

    def says(document: dict[str, Any]) -> int:
        return busy.pop() if busy and document["event"]["action"] == "location-changed" else 0

    async with bulk_server() as store:
        store.says = says
        async with running(exporter(tmp_path, store.web.url, template=False)) as events:
            await events.publish(News(changed=(SERVED,), opened=(FINDING,)))
            await store.web.until(lambda: len(store.documents) == 2)
        assert [each.body.count(b'"_id"') for each in store.web.requests] == [2, 1, 1]


async def test_an_answer_that_got_lost_leaves_no_second_copy(tmp_path: Path) -> None:
    """The server took the batch, and the connection broke before it could say so."""
    async with bulk_server() as store:
        first = exporter(tmp_path, store.web.url, template=False)
        async with running(first):
            await first.publish(News(opened=(FINDING,)))
            await store.web.until(lambda: len(store.documents) == 1)
        (document,) = store.documents.values()
        sent = json.dumps(document).encode()
        assert not await first._sink.send([sent])
        await first._sink.close()
        assert len(store.documents) == 1


async def test_a_server_in_trouble_gets_everything_later(tmp_path: Path) -> None:
    trouble = [503, 502, 401]
    async with bulk_server() as store:
        store.whole = lambda request: trouble.pop() if trouble else 0
        async with running(exporter(tmp_path, store.web.url)) as events:
            await events.publish(News(opened=(FINDING,)))
            await store.web.until(lambda: len(store.documents) == 1)


async def test_a_batch_that_is_too_large_is_halved(tmp_path: Path) -> None:
    async with bulk_server() as store:
        store.whole = lambda request: 413 if request.body.count(b'"_id"') > 3 else 0
        findings = tuple(replace(FINDING, id=FindingID(number), summary=str(number)) for number in range(20))
        async with running(exporter(tmp_path, store.web.url, template=False)) as events:
            await events.publish(News(opened=findings))
            await store.web.until(lambda: len(store.documents) == 20)


@pytest.mark.parametrize(
    "said", [b"", b"[]", b'{"errors":true}', b'{"errors":true,"items":[]}', b'{"errors":true,"items":[{}]}']
)
async def test_an_answer_that_is_none_loses_nothing(tmp_path: Path, said: bytes) -> None:
    nonsense = [said]
    async with bulk_server() as store:
        sink = exporter(tmp_path, store.web.url, template=False)._sink
        original, sink_ask = sink._ask, nonsense  # type: ignore[attr-defined]

        async def ask(*args: Any) -> tuple[int, bytes]:
            return (200, sink_ask.pop()) if sink_ask else await original(*args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sink, "_ask", ask)
            with pytest.raises(SinkError):
                await sink.send([b'{"event":{"id":"1","action":"x"}}'])
        await sink.close()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"username": "u", "password": SecretStr("p€")},
            "Basic " + base64.b64encode("u:p€".encode()).decode(),
        ),
        ({"api_key": SecretStr("a2V5")}, "ApiKey a2V5"),
    ],
)
async def test_it_says_who_it_is(tmp_path: Path, keys: dict[str, Any], expected: str) -> None:
    def whole(request: Request) -> int:
        return 0 if request.headers.get("authorization") == expected else 401

    async with bulk_server() as store:
        store.whole = whole
        async with running(exporter(tmp_path, store.web.url, **keys)) as events:
            await events.publish(News(opened=(FINDING,)))
            await store.web.until(lambda: len(store.documents) == 1)


async def test_what_waits_when_it_stops_is_delivered_by_the_next_one(tmp_path: Path) -> None:
    async with bulk_server() as store:
        store.whole = lambda request: 503
        async with running(exporter(tmp_path, store.web.url)) as events:
            await events.publish(News(opened=(FINDING,)))
            await store.web.until(lambda: bool(store.web.requests))
        store.whole = lambda request: 0
        async with running(exporter(tmp_path, store.web.url)):
            await store.web.until(lambda: len(store.documents) == 1)
