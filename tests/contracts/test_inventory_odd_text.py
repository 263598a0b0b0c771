"""Every store: text of any length and any characters, wherever it may come from outside."""

from collections.abc import Iterator
from hashlib import sha512
from pathlib import Path

import pytest

from certwatch.inventory.store import FindingQuery
from certwatch.inventory.text import storable
from certwatch.model.location import LocationURI
from certwatch.model.mark import Mark, MarkID
from certwatch.model.observation import Gone
from certwatch.model.silence import Matter, Silence, SilenceID
from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.x509.der import read
from tests.support.inventories import STORES, Tried, opened, problem

FIRST, SECOND = make_certificate(), make_certificate(key_number=2)
#: Longer than any index entry of any database, and not to be compressed into one.
LONG = "".join(sha512(bytes([number])).hexdigest() for number in range(200))
HOSTILE = "\udcff\x00'\";--\u202e\\x00%s?1:a"
#: Two that differ at their end alone.
PLACES = (f"file:///{LONG}/a.pem", f"file:///{LONG}/b.pem", f"k8s://{HOSTILE}", f"tls://host:443/?sni={LONG}")
PLAIN = "tls://203.0.113.7:443/"


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def test_a_place_of_any_name_is_kept_once_beside_all_others(tried: Tried) -> None:
    looks = [tried.look(uri, FIRST) for uri in (*PLACES, PLAIN)]
    assert tried.record(*looks).changed == len(looks)
    again = [tried.look(uri, FIRST) for uri in (*PLACES, PLAIN)]
    assert tried.record(*again).unchanged == len(looks)
    assert {each.location.uri for each in tried.reader.live()} == {storable(uri) for uri in (*PLACES, PLAIN)}
    changed = [tried.look(uri, SECOND) for uri in (*PLACES, PLAIN)]
    assert tried.record(*changed).changed == len(looks)
    assert tried.reader.counts().locations == len(looks)


@pytest.mark.parametrize("uri", PLACES, ids=("long", "another", "hostile", "name"))
def test_a_place_of_any_name_is_found_by_it(tried: Tried, uri: str) -> None:
    tried.record(*[tried.look(each, SECOND) for each in PLACES if each != uri], tried.look(uri, FIRST))
    served = tried.served(uri)
    assert served.leaf is not None and served.leaf.der == FIRST.der
    assert [row[0] for row in tried.history(uri)] == [FIRST.der]
    assert tried.listed(text=uri) == [FIRST.der]
    # By its beginning, where that is longer than an index's entry too.
    assert FIRST.der in tried.listed(text=uri[:-4])
    assert FIRST.der in tried.listed(text=uri[:9])


@pytest.mark.parametrize("uri", PLACES, ids=("long", "another", "hostile", "name"))
def test_a_place_of_any_name_is_retired_and_comes_back(tried: Tried, uri: str) -> None:
    tried.record(tried.look(uri, FIRST), tried.look(PLAIN, SECOND))
    gone = Gone(location=LocationURI(uri), observed_at=tried.clock.advance(minutes=1))
    tried.writer.record_changes("edge", [], {}, [gone], tried.clock())
    assert tried.served(uri).retired_at is not None
    assert tried.served(PLAIN).retired_at is None
    tried.record(tried.look(uri, FIRST), tried.look(PLAIN, SECOND))
    assert tried.served(uri).retired_at is None


@pytest.mark.parametrize("text", [LONG, HOSTILE], ids=("long", "hostile"))
def test_findings_may_say_anything(tried: Tried, text: str) -> None:
    uri = PLACES[0]
    tried.record(
        tried.look(uri, FIRST, labels={text: text}, scope=text), collector=text[:63], labels={text: text}
    )
    said = problem("odd-text", summary=text, text=text)
    (opened,) = tried.settle(said, owner=text).opened
    assert opened.owner == storable(text)
    for query in (
        FindingQuery(owner=text),
        FindingQuery(rule="odd-text"),
        FindingQuery(location=LocationURI(uri)),
    ):
        assert [each.id for each in tried.reader.findings(query)] == [opened.id]
    assert tried.listed(owner=text) == [FIRST.der]
    assert tried.listed(collector=text[:63]) == [FIRST.der]
    assert tried.listed(issuer=text) == []
    assert tried.listed(text=text) == []
    assert tried.reader.count_by_owner()[0].owner == storable(text)
    tried.record(
        tried.look(uri, FIRST, labels={text: text}, scope=text), collector=text[:63], labels={text: text}
    )
    assert tried.settle(said, owner=text).opened == ()
    assert [each.id for each in tried.reader.findings(FindingQuery())] == [opened.id]


@pytest.mark.parametrize("text", [LONG, HOSTILE], ids=("long", "hostile"))
def test_people_may_say_anything(tried: Tried, text: str) -> None:
    tried.record(tried.look(PLACES[0], FIRST))
    matter = Matter(rule="expiry", location=LocationURI(PLACES[0]), fingerprint=None)
    silence = Silence(
        id=SilenceID(0),
        covers=matter,
        until=EPOCH.replace(year=2030),
        author=text,
        reason=text,
        created_at=EPOCH,
        ended_at=None,
    )
    tried.settle()
    tried.store.silence(silence)
    assert tried.due() == [PLACES[0]]
    (kept,) = tried.reader.silences()
    assert (kept.author, kept.reason) == (storable(text), storable(text))
    mark = Mark(
        id=MarkID(0), kind="retired", certificate=read(FIRST.der), author=text, reason=text, created_at=EPOCH
    )
    tried.store.mark(mark)
    assert [each.author for each in tried.reader.marks()] == [storable(text)]


def test_numbers_of_any_size_are_kept_and_asked_for(tried: Tried) -> None:
    facts = {"n": 2**63 - 1, "m": -(2**63), "f": 1.5e308}
    tried.record(tried.look(PLAIN, FIRST, facts=facts))
    assert tried.served(PLAIN).facts == facts
    tried.record(tried.look(PLAIN, FIRST, facts={"n": 2**64, "m": -(2**200), "f": float("nan")}))
    assert tried.served(PLAIN).facts == {"n": 2**64, "m": -(2**200), "f": None}
    assert tried.reader.finding(2**70) is None  # type: ignore[arg-type]
    assert tried.store.end_silence(SilenceID(2**70), EPOCH) is None
    assert tried.store.end_mark(MarkID(2**70), EPOCH) is None
    assert tried.listed(limit=2**70) == [FIRST.der]
