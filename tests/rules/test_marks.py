"""What people say of keys and certificates, held against where they are in use."""

from datetime import timedelta
from typing import Any

from certwatch.model.finding import Problem
from certwatch.model.location import file_location
from certwatch.model.mark import Mark, MarkID, MarkKind, Marks
from certwatch.model.neighbour import Neighbour, Sharer
from certwatch.model.sighting import Served
from certwatch.plugins import registry
from certwatch.plugins.rule import World
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE, ROOT, TRUST, served

LEAF = make_certificate(issuer=INTERMEDIATE, serial_number=7)
SAME_KEY = make_certificate(issuer=INTERMEDIATE, serial_number=8, names=("dns:api.example.com",))
OTHER_KEY = make_certificate(issuer=INTERMEDIATE, serial_number=9, key_number=55)
FILE = file_location("/etc/ssl/old.pem")


def mark(kind: MarkKind, about: Issued, **fields: Any) -> Mark:
    values: dict[str, Any] = {
        "id": MarkID(3),
        "kind": kind,
        "certificate": read(about.der),
        "author": "ada",
        "reason": "laptop stolen",
        "created_at": EPOCH,
    }
    return Mark(**(values | fields))


def problems(rule: str, place: Served, *marks: Mark, now: Any = EPOCH, **world: Any) -> list[Problem]:
    loaded = registry.load("rules", rule)
    found = loaded.evaluate(place, loaded.Config(), World(now=now, trust=TRUST, marks=Marks(marks), **world))
    return [each for each in found if isinstance(each, Problem)]


def test_every_certificate_of_a_compromised_key_is_a_page_and_others_are_not() -> None:
    stolen = mark("compromised", LEAF)
    for each in (LEAF, SAME_KEY):
        (found,) = problems("compromised", served([each, INTERMEDIATE]), stolen)
        assert (found.severity, found.fingerprint) == ("page", read(each.der).fingerprint_sha256)
        assert "Marked by ada at 2026-11-01T12:00Z: laptop stolen (mark 3)" in found.text
    assert problems("compromised", served([OTHER_KEY, INTERMEDIATE]), stolen) == []
    assert problems("compromised", served([LEAF, INTERMEDIATE])) == []


def test_what_a_compromised_ca_has_issued_is_a_page_whether_or_not_it_is_presented() -> None:
    taken = mark("compromised", INTERMEDIATE)
    names = {each.summary for each in problems("compromised", served([LEAF, INTERMEDIATE]), taken)}
    assert any("was issued by CN=Test Intermediate" in each for each in names)
    assert any("its key is compromised" in each for each in names), "the CA itself"
    (found,) = problems("compromised", served([LEAF]), taken)
    assert "was issued by" in found.summary
    # Of the same name, and with another key: it has issued nothing here.
    namesake = make_ca("Test Intermediate", issuer=ROOT, key_number=199)
    assert problems("compromised", served([LEAF]), mark("compromised", namesake)) == []


def test_a_mark_that_was_taken_back_says_nothing() -> None:
    gone = mark("compromised", LEAF, ended_at=EPOCH)
    assert problems("compromised", served([LEAF, INTERMEDIATE]), gone) == []
    assert not Marks([gone])


def test_a_retired_certificate_is_a_ticket_where_it_is_served_and_nowhere_else() -> None:
    retired = mark("retired", LEAF)
    (found,) = problems("retired-in-use", served([LEAF, INTERMEDIATE]), retired)
    assert found.severity == "ticket"
    assert problems("retired-in-use", served([LEAF], uri=FILE), retired) == []
    assert problems("retired-in-use", served([SAME_KEY, INTERMEDIATE]), retired) == []


def near(leaf: Issued) -> Any:
    """A day before its end."""
    end = read(leaf.der).not_after
    assert end is not None
    return end - timedelta(days=1)


def test_the_end_of_a_retired_certificate_that_only_lies_somewhere_is_nobodys_matter() -> None:
    place = served([LEAF, INTERMEDIATE], uri=FILE)
    assert problems("expiry", place, now=near(LEAF))
    assert problems("expiry", place, mark("retired", LEAF), now=near(LEAF)) == []
    assert problems("expiry", served([LEAF, INTERMEDIATE]), mark("retired", LEAF), now=near(LEAF))


def test_a_superseded_certificate_that_lies_somewhere_expires_silently_unless_an_endpoint_serves_it() -> None:
    place = served([LEAF, INTERMEDIATE], uri=FILE)
    old = read(LEAF.der)
    assert old.not_before is not None and old.not_after is not None
    later = make_certificate(
        issuer=INTERMEDIATE,
        not_before=old.not_before + timedelta(days=60),
        not_after=old.not_after + timedelta(days=60),
    )
    tls = served([LEAF]).location
    renewed = Neighbour(location_id=2, location=tls.uri, certificate=read(later.der), since=EPOCH)
    still = Sharer(location_id=3, location=tls, owner="", certificate=old)
    assert problems("expiry", place, now=near(LEAF), neighbours=[renewed]) == []
    assert problems("expiry", place, now=near(LEAF), neighbours=[renewed], sharers=[still])
    assert problems("expiry", place, now=near(LEAF), neighbours=[renewed], sharers=[still] * 50)
