"""Notifications: who is told what, when, and not twice. Time stands still but where a test moves it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import Finding, FindingID
from certwatch.model.location import Location, LocationURI
from certwatch.model.observation import Scan
from certwatch.model.sighting import Served
from certwatch.plugins.exporter import ExporterContext, News
from certwatch.plugins.testing import EPOCH, FakeClock
from exporters.notify import NotifyConfig, NotifyExporter
from exporters.notify.receiver import Receiver
from exporters.notify.ways import NotSent
from tests.exporters.test_events import CERTIFICATE, FINDING, SERVED
from tests.support.serving import SILENCE
from tests.support.web_server import Request, WebServer, web_server

pytestmark = pytest.mark.anyio


def finding(number: int, **fields: Any) -> Finding:
    values: dict[str, Any] = {
        "id": FindingID(number),
        "location": LocationURI(f"tls://192.0.2.{number}:443/"),
        "summary": f"matter {number}",
    }
    return replace(FINDING, **(values | fields))


class View:
    """What the inventory says: a test changes it."""

    def __init__(self, *findings: Finding, served: tuple[Served, ...] = ()) -> None:
        self.findings = list(findings)
        self.all_served = served

    def live(self) -> Iterator[Served]:
        yield from self.all_served

    def open_findings(self) -> Iterator[Finding]:
        yield from self.findings

    def served(self, uri: str) -> Served | None:
        return None

    def last_scans(self) -> tuple[Scan, ...]:
        return ()


class Webhook:
    """A far side that takes webhooks."""

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self.url = "webhook+" + web.url + "/hook/s3cret"

    @property
    def said(self) -> list[dict[str, Any]]:
        return [json.loads(each.body) for each in self.web.requests]


@asynccontextmanager
async def webhook(status: Callable[[Request], int] = lambda request: 200) -> AsyncIterator[Webhook]:
    async def handle(request: Request) -> tuple[int, bytes]:
        return status(request), b""

    async with web_server(handle) as web:
        yield Webhook(web)


@asynccontextmanager
async def receivers(
    view: View, clock: FakeClock, folder: Path | None = None, **keys: Any
) -> AsyncIterator[tuple[NotifyExporter, list[Receiver]]]:
    """An exporter whose receivers are asked by hand, round by round."""
    context = ExporterContext(
        clock=clock, view=view, external_url="https://certwatch.example.com", state_folder=folder
    )
    exporter = NotifyExporter("notify", NotifyConfig.model_validate(keys), context)
    await exporter.start()
    async with httpx.AsyncClient() as client:
        yield exporter, exporter._make_receivers(client)


def summaries(items: list[dict[str, Any]]) -> list[str]:
    return [each["summary"] for each in items]


async def test_a_page_is_told_after_the_wait_for_its_group_together_with_what_came_meanwhile(
    tmp_path: Path,
) -> None:
    clock, view = FakeClock(), View(finding(1))
    async with webhook() as hook, receivers(view, clock, tmp_path, urls=[hook.url]) as (exporter, (one,)):
        assert await one.round() == 60
        clock.advance(seconds=30)
        await exporter.publish(News(opened=(finding(2), finding(3, severity="ticket"))))
        assert await one.round() == 30
        assert hook.said == []
        clock.advance(seconds=30)
        await one.round()
        (told,) = hook.said
        assert told["kind"] == "pages"
        assert summaries(told["new"]) == ["matter 1", "matter 2"]
        assert told["counts"] == {"new": 2, "open": 0, "resolved": 0, "expiring": 0}
        assert told["new"][0]["runbook"] == "https://certwatch.example.com/docs/rules/expiry.md"
        await one.round()
        assert len(hook.said) == 1


async def test_a_page_is_repeated_while_it_is_open_and_its_end_is_told(tmp_path: Path) -> None:
    clock, view = FakeClock(), View(finding(1))
    keys = {"group_wait": 0, "repeat": "6h", "digest": False}
    async with (
        webhook() as hook,
        receivers(view, clock, tmp_path, urls=[hook.url], **keys) as (exporter, (one,)),
    ):
        await one.round()
        clock.advance(hours=5)
        assert await one.round() == 3600
        clock.advance(hours=1)
        await one.round()
        clock.advance(hours=1)
        await exporter.publish(News(resolved=(finding(1),)))
        await one.round()
        assert [summaries(each["new"]) for each in hook.said] == [["matter 1"], [], []]
        assert [summaries(each["open"]) for each in hook.said] == [[], ["matter 1"], []]
        assert [summaries(each["resolved"]) for each in hook.said] == [[], [], ["matter 1"]]
        assert len({each["id"] for each in hook.said}) == 3


async def test_a_silenced_page_is_told_neither_as_open_nor_as_resolved_and_anew_when_the_silence_ends(
    tmp_path: Path,
) -> None:
    clock, view = FakeClock(), View(finding(1))
    keys = {"group_wait": 0, "repeat": "6h", "digest": False}
    async with (
        webhook() as hook,
        receivers(view, clock, tmp_path, urls=[hook.url], **keys) as (exporter, (one,)),
    ):
        await one.round()
        await exporter.publish(News(altered=(finding(1, silence=SILENCE),)))
        clock.advance(hours=7)
        await one.round()
        assert len(hook.said) == 1
        await exporter.publish(News(altered=(finding(1),)))
        await one.round()
        assert [summaries(each["new"]) for each in hook.said] == [["matter 1"], ["matter 1"]]


async def test_a_digest_says_what_is_new_still_open_and_resolved_at_its_time(tmp_path: Path) -> None:
    clock, view = FakeClock(), View(finding(1, severity="ticket"), finding(2, severity="ticket"))
    async with webhook() as hook, receivers(view, clock, tmp_path, urls=[hook.url]) as (exporter, (one,)):
        await one.round()
        assert hook.said == []  # it is noon; the first one comes at eight
        clock.advance(hours=20)
        await one.round()
        await exporter.publish(
            News(resolved=(finding(1),), opened=(finding(3, severity="ticket"), finding(4, severity="info")))
        )
        clock.advance(hours=23, minutes=59)
        assert await one.round() == 60
        clock.advance(minutes=1)
        await one.round()
        first, second = hook.said
        assert summaries(first["new"]) == ["matter 1", "matter 2"]
        assert summaries(second["new"]) == ["matter 3"]
        assert summaries(second["open"]) == ["matter 2"]
        assert summaries(second["resolved"]) == ["matter 1"]
        assert second["title"] == "certwatch: 1 new, 1 open, 1 resolved"


async def test_a_digest_of_nothing_is_not_sent(tmp_path: Path) -> None:
    clock = FakeClock()
    async with webhook() as hook, receivers(View(), clock, tmp_path, urls=[hook.url]) as (_, (one,)):
        await one.round()
        clock.advance(days=3)
        await one.round()
        assert hook.said == []


async def test_a_digest_lists_certificates_that_expire_soon_once_each(tmp_path: Path) -> None:
    soon = replace(CERTIFICATE, not_after=EPOCH + timedelta(days=9))
    later = replace(
        CERTIFICATE,
        fingerprint_sha256=Fingerprint(bytes(32)),
        not_after=EPOCH + timedelta(days=90),
    )
    served = (
        replace(SERVED, chain=(soon,)),
        replace(SERVED, chain=(soon,), location=Location(uri=LocationURI("tls://192.0.2.9:443/"))),
        replace(SERVED, chain=(later,)),
        replace(SERVED, chain=()),
    )
    clock = FakeClock()
    async with (
        webhook() as hook,
        receivers(View(served=served), clock, tmp_path, urls=[hook.url]) as (_, (one,)),
    ):
        await one.round()
        clock.advance(hours=20)
        await one.round()
        (told,) = hook.said
        (expiring,) = told["expiring"]
        assert (expiring["name"], expiring["locations"]) == ("www.example.com", 2)
        assert told["title"] == "certwatch: 1 expiring within 30d"


async def test_each_owner_with_urls_of_its_own_hears_of_its_matters_alone(tmp_path: Path) -> None:
    view = View(finding(1, owner="payments"), finding(2, owner="web"), finding(3, owner=""))
    keys = {"group_wait": 0, "digest": False}
    async with (
        webhook() as payments,
        webhook() as others,
        receivers(
            view, FakeClock(), tmp_path, urls=[others.url], owners={"payments": [payments.url]}, **keys
        ) as (
            exporter,
            both,
        ),
    ):
        for each in both:
            await each.round()
        assert [summaries(each["new"]) for each in payments.said] == [["matter 1"]]
        assert [summaries(each["new"]) for each in others.said] == [["matter 3", "matter 2"]]
        # It changes hands: new for one, no all-clear for the other.
        await exporter.publish(News(altered=(finding(1, owner="web"),)))
        for each in both:
            await each.round()
        assert len(payments.said) == 1
        assert summaries(others.said[-1]["new"]) == ["matter 1"]


async def test_nobody_is_told_of_owners_without_a_route_when_there_is_no_default(tmp_path: Path) -> None:
    view = View(finding(1, owner="web"))
    async with (
        webhook() as hook,
        receivers(view, FakeClock(), tmp_path, owners={"payments": hook.url}, group_wait=0) as (_, (one,)),
    ):
        await one.round()
        assert hook.said == []


async def test_a_restart_tells_nothing_twice_and_forgets_nothing(tmp_path: Path) -> None:
    clock, view = FakeClock(), View(finding(1), finding(2))
    async with webhook() as hook:
        async with receivers(view, clock, tmp_path, urls=[hook.url], group_wait=0) as (_, (one,)):
            await one.round()
        view.findings = [finding(2), finding(3)]  # while certwatch was down
        async with receivers(view, clock, tmp_path, urls=[hook.url], group_wait=0) as (_, (one,)):
            await one.round()
            clock.advance(hours=20)
            await one.round()
        async with receivers(view, clock, tmp_path, urls=[hook.url], group_wait=0) as (_, (one,)):
            await one.round()
        pages, after, digest = hook.said
        assert summaries(pages["new"]) == ["matter 1", "matter 2"]
        assert [summaries(after[each]) for each in ("new", "open", "resolved")] == [
            ["matter 3"],
            ["matter 2"],
            ["matter 1"],
        ]
        assert digest["kind"] == "digest"


def spoil(folder: Path) -> None:
    (state,) = folder.glob("*.json")
    assert "s3cret" not in state.read_text() + state.name
    state.write_text('{"pages": 7}')


async def test_state_that_cannot_be_read_is_as_if_nothing_was_told(tmp_path: Path) -> None:
    view = View(finding(1))
    async with webhook() as hook:
        for _ in range(2):
            async with receivers(view, FakeClock(), tmp_path, urls=[hook.url], group_wait=0) as (_, (one,)):
                await one.round()
            spoil(tmp_path)
        assert len(hook.said) == 2


async def test_what_could_not_be_sent_is_told_later_with_what_came_since(tmp_path: Path) -> None:
    trouble = [503]
    view = View(finding(1))
    async with (
        webhook(lambda request: trouble.pop() if trouble else 200) as hook,
        receivers(view, FakeClock(), tmp_path, urls=[hook.url], group_wait=0) as (exporter, (one,)),
    ):
        with pytest.raises(NotSent, match="HTTP 503") as caught:
            await one.round()
        assert "s3cret" not in str(caught.value) + one.shown
        await exporter.publish(News(opened=(finding(2),)))
        await one.round()
        assert summaries(hook.said[-1]["new"]) == ["matter 1", "matter 2"]


async def test_a_clock_that_is_set_back_repeats_nothing_and_silences_nothing(tmp_path: Path) -> None:
    clock, view = FakeClock(), View(finding(1))
    async with (
        webhook() as hook,
        receivers(view, clock, tmp_path, urls=[hook.url], group_wait=0) as (_, (one,)),
    ):
        await one.round()
        clock.advance(days=-400)
        assert await one.round() <= 86_400
        assert len(hook.said) == 1
        clock.advance(hours=25)
        await one.round()
        await one.round()
        assert len(hook.said) >= 2


async def test_what_waits_for_its_group_goes_when_certwatch_stops(tmp_path: Path) -> None:
    context = ExporterContext(clock=FakeClock(), view=View(finding(1)), state_folder=tmp_path)
    async with webhook() as hook:
        exporter = NotifyExporter("notify", NotifyConfig.model_validate({"urls": [hook.url]}), context)
        await exporter.start()
        running = asyncio.create_task(exporter.run())
        async with asyncio.timeout(10):
            await exporter.running.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [summaries(each["new"]) for each in hook.said] == [["matter 1"]]


async def test_urls_of_a_file_are_read_and_never_shown(tmp_path: Path) -> None:
    async with webhook() as hook:
        (tmp_path / "urls").write_text(f"# ours\n\n{hook.url}\n{hook.url}\n")
        async with receivers(View(finding(1)), FakeClock(), urls_file=tmp_path / "urls", group_wait=0) as (
            _,
            found,
        ):
            (one,) = found
            await one.round()
            assert len(hook.said) == 1
            assert one.shown == "webhook to 127.0.0.1"
    (tmp_path / "urls").write_text("nonsense+s3cret://tokentoken\n")
    with pytest.raises(ValueError, match=r"nonsense\+s3cret:// is not understood"):
        async with receivers(View(), FakeClock(), urls_file=tmp_path / "urls"):
            pass


async def test_a_finding_goes_by_its_route_and_turns_with_its_place(tmp_path: Path) -> None:
    """`to` names one of `owners`; a name that is none of them changes nothing."""
    clock = FakeClock()

    def route_of(finding: Finding, served: Served | None) -> str:
        return "" if served is None else served.location.labels.get("environment", "nowhere")

    def at(number: int, environment: str) -> Served:
        location = Location(uri=finding(number).location, labels={"environment": environment})
        return replace(SERVED, location=location)

    view = View(finding(1))
    context = ExporterContext(clock=clock, view=view, state_folder=tmp_path, route_of=route_of)
    keys = {"urls": ["webhook+http://127.0.0.1:9/"], "owners": {"lab": ["webhook+http://127.0.0.1:9/lab"]}}
    exporter = NotifyExporter("notify", NotifyConfig.model_validate(keys), context)
    await exporter.start()

    def told(route: str) -> list[int]:
        return sorted(exporter._open_of(route, (FINDING.severity,)))

    assert (told(""), told("lab")) == ([1], [])
    await exporter.publish(News(changed=(at(2, "lab"), at(3, "other")), opened=(finding(2), finding(3))))
    assert (told(""), told("lab")) == ([1, 3], [2])
    await exporter.publish(News(changed=(at(1, "lab"), at(2, "prod"))))
    assert (told(""), told("lab")) == ([2, 3], [1])
    await exporter.publish(News(resolved=(finding(1), finding(3))))
    assert (told(""), told("lab")) == ([2], [])
    assert list(exporter._at) == [finding(2).location]


async def test_what_is_told_of_a_finding_is_its_newest_word(tmp_path: Path) -> None:
    """`start` reads what is open while rounds go on: the news after it may be of a finding that it has read."""
    clock, view = FakeClock(), View(finding(1, summary="of before"))
    async with receivers(view, clock, tmp_path, urls=["webhook+http://127.0.0.1:9/"]) as (exporter, _):
        await exporter.publish(News(opened=(finding(1, summary="of now"),)))
        assert [each.summary for each in exporter._open.values()] == ["of now"]
