"""Targets that stand in the inventory, put there by another collector."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest
from pydantic import ValidationError

from certwatch.doors.dns import Family
from certwatch.model.location import LocationURI
from certwatch.model.observation import Incomplete, Observation
from certwatch.model.sighting import Served
from certwatch.plugins.collector import CollectorContext
from certwatch.plugins.testing import FakeClock
from certwatch.plugins.view import InventoryView
from collectors.tls import TLSCollector, TLSConfig
from collectors.tls.discovered import discovered
from tests.support.servers import free_port
from tests.support.serving import served

pytestmark = pytest.mark.anyio


class View:
    def __init__(self, *places: Served) -> None:
        self.places = places

    def live(self) -> Iterator[Served]:
        yield from self.places


def place(targets: object, *collectors: str) -> Served:
    uri = LocationURI("k8s://prod/pay/ingress/web?host=a")
    return served((), uri=uri, facts={"tls_targets": targets}, collectors=collectors or ("prod",))


def view(*places: Served) -> InventoryView:
    return cast("InventoryView", View(*places))


def names(view: InventoryView, *collectors: str) -> list[str]:
    return [each.text for each in discovered(view, collectors or ("prod",))]


def test_each_target_is_taken_once_and_of_the_named_collectors_only() -> None:
    found = view(
        place("a.example:443 b.example:443"),
        place("a.example:443 c.example:443"),
        place("d.example:443", "other"),
        place("e.example:443", "other", "prod"),
        place(7),
        served(()),
    )
    assert names(found) == ["a.example:443", "b.example:443", "c.example:443", "e.example:443"]


def test_who_writes_objects_into_a_cluster_makes_nobody_walk_networks() -> None:
    assert names(view(place("10.0.0.0/8:443 a.example:1-65535 listening ?? ok.example:443"))) == [
        "ok.example:443"
    ]


def test_a_collector_needs_something_to_look_at() -> None:
    with pytest.raises(ValidationError, match="name targets, or where they stand"):
        TLSConfig.model_validate({})


class NoSuchName(TLSCollector):
    """A name service that knows no name, or does not answer."""

    answer = -2  # EAI_NONAME

    def lookup(self, name: str, family: Family) -> Sequence[str]:
        import socket

        raise socket.gaierror(self.answer, "as told")


class NoAnswer(NoSuchName):
    answer = -3  # EAI_AGAIN


async def look(kind: type[TLSCollector], *places: Served, **config: Any) -> list[Any]:
    settings = TLSConfig.model_validate({"targets_from": ["prod"], "timeout": 5, **config})
    context = CollectorContext(clock=FakeClock(), view=view(*places))
    async with asyncio.timeout(15):
        return [each async for each in kind("served", settings, context).collect()]


async def test_a_name_that_a_cluster_has_and_dns_has_not_is_no_gap() -> None:
    assert await look(NoSuchName, place("staging.example:443")) == []


async def test_a_name_service_that_does_not_answer_retires_nothing() -> None:
    said = await look(NoAnswer, place("a.example:443"))
    assert [each.scope for each in said if isinstance(each, Incomplete)] == ["a.example:443"]
    (seen,) = [each for each in said if isinstance(each, Observation)]
    assert seen.guessed


async def test_what_is_not_there_is_a_guess_and_what_was_written_is_none() -> None:
    port = free_port()
    said = await look(TLSCollector, place(f"127.0.0.1:{port}"))
    assert [(each.guessed, each.error is not None) for each in said if isinstance(each, Observation)] == [
        (True, True)
    ]
    said = await look(TLSCollector, place(f"127.0.0.1:{port}"), targets=[f"127.0.0.1:{port}"])
    assert [each.guessed for each in said if isinstance(each, Observation)] == [False]
