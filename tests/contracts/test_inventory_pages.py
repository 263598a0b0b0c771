"""Every store: how a list goes on after a page, how long reading may take, and what is counted."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest

from certwatch.inventory.store import FindingQuery, InventoryError, OwnerCount, Query
from certwatch.model.certificate import Fingerprint
from certwatch.model.finding import FindingID
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, opened, problem

ISSUERS = [make_ca(f"CA {n}", key_number=200 + n) for n in range(3)]
#: Many of one date, one issuer and one subject: the order among equals decides.
ISSUED = [
    make_certificate(
        names=(f"dns:host-{n}.example.com",),
        subject=f"subject {n // 5}",
        issuer=ISSUERS[n % 3],
        not_after=EPOCH + timedelta(days=n // 4),
    )
    for n in range(23)
]
SORTS = get_args(Query.__annotations__["sort"])


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(
            *(inventory.look(f"tls://203.0.113.{n}:443/", each) for n, each in enumerate(ISSUED)),
            inventory.look("tls://203.0.113.200:443/", ISSUED[7]),
        )
        yield inventory


def in_pages(tried: Tried, query: Query, size: int) -> list[bytes]:
    found: list[bytes] = []
    after: Fingerprint | None = None
    while page := list(tried.reader.list(replace(query, after=after, limit=size), tried.clock())):
        found += [each.certificate.der for each in page]
        after = page[-1].certificate.fingerprint_sha256
    return found


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("size", [1, 4, 50])
def test_pages_together_are_the_list(tried: Tried, sort: str, descending: bool, size: int) -> None:
    query = Query(sort=sort, descending=descending)  # type: ignore[arg-type]
    whole = [each.certificate.der for each in tried.reader.list(query, tried.clock())]
    assert len(whole) == len(ISSUED)
    assert in_pages(tried, query, size) == whole


@pytest.mark.parametrize(
    "query",
    [
        Query(text="*.example.com"),
        Query(text="subject 1"),
        Query(issuer="ca 1", expires_after=EPOCH + timedelta(days=2)),
        Query(where=lambda entry: "7" in entry.certificate.names[0]),
        Query(at=EPOCH + timedelta(minutes=1)),
    ],
)
def test_pages_of_a_narrowed_list_are_that_list(tried: Tried, query: Query) -> None:
    whole = [each.certificate.der for each in tried.reader.list(query, tried.clock())]
    assert 1 < len(whole)
    assert in_pages(tried, query, 2) == whole


def test_a_page_goes_on_where_it_was_though_others_came_meanwhile(tried: Tried) -> None:
    first = list(tried.reader.list(Query(limit=10), tried.clock()))
    early = make_certificate(names=("dns:early.example.com",), not_after=EPOCH - timedelta(days=9))
    tried.record(tried.look("tls://203.0.113.99:443/", early), collector="other")
    rest = list(tried.reader.list(Query(after=first[-1].certificate.fingerprint_sha256), tried.clock()))
    assert {each.certificate.der for each in [*first, *rest]} == {each.der for each in ISSUED}


def test_a_forgotten_certificate_is_no_place_to_go_on(tried: Tried) -> None:
    with pytest.raises(InventoryError) as caught:
        list(tried.reader.list(Query(after=Fingerprint(bytes(32))), tried.clock()))
    assert caught.value.kind == "gone"


def test_pages_of_findings_are_all_findings(tried: Tried) -> None:
    tried.settle(
        problem(severity="ticket"), problem("weak-key", severity="page"), problem("x", severity="info")
    )
    whole = [each.id for each in tried.reader.findings(FindingQuery())]
    found: list[FindingID] = []
    after = None
    while page := list(tried.reader.findings(FindingQuery(limit=7, after=after))):
        found += [each.id for each in page]
        after = page[-1].id
    assert found == whole
    assert len(whole) == 3 * 24
    with pytest.raises(InventoryError) as caught:
        list(tried.reader.findings(FindingQuery(after=FindingID(10**9))))
    assert caught.value.kind == "gone"


def test_reading_ends_when_its_time_has_passed_and_not_after_the_limit_is_gone(tried: Tried) -> None:
    slow = Query(where=lambda entry: time.monotonic() < 0)
    tried.reader.limit_time(0)
    for _ in range(2):
        with pytest.raises(InventoryError) as caught:
            list(tried.reader.list(slow, tried.clock()))
        assert caught.value.kind == "too-long"
    tried.reader.limit_time(None)
    assert list(tried.reader.list(slow, tried.clock())) == []
    tried.reader.limit_time(60)
    assert tried.reader.counts().certificates == len(ISSUED)


def test_findings_are_counted_by_owner_gravest_first(tried: Tried) -> None:
    assert tried.reader.count_by_owner() == []
    for n, owner, severity in ((0, "b", "ticket"), (1, "b", "ticket"), (2, "a", "page"), (3, "", "info"), (4, "c", "ticket")):  # fmt: skip
        tried.settle(problem(severity=severity), uri=f"tls://203.0.113.{n}:443/", owner=owner)  # type: ignore[arg-type]
    assert tried.reader.count_by_owner() == [
        OwnerCount(owner="a", open_findings={"page": 1}),
        OwnerCount(owner="b", open_findings={"ticket": 2}),
        OwnerCount(owner="c", open_findings={"ticket": 1}),
        OwnerCount(owner="", open_findings={"info": 1}),
    ]


def test_what_fails_is_counted(tried: Tried) -> None:
    tried.clock.advance(hours=1)
    tried.record(
        tried.look("tls://203.0.113.1:443/", error=TIMEOUT),
        tried.look("tls://203.0.113.2:443/", error=TIMEOUT),
        *(tried.look(f"tls://203.0.113.{n}:443/", each) for n, each in enumerate(ISSUED) if n not in (1, 2)),
    )
    counts = tried.reader.counts()
    assert (counts.failing, counts.locations) == (2, len(ISSUED))
