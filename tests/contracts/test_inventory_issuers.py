"""Every store: issuers that a chain lacks, from where they are published."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from certwatch.model.certificate import Certificate
from certwatch.model.location import aia_location
from certwatch.plugins.testing import make_ca, make_certificate
from tests.support.inventories import STORES, Tried, opened

URL, UPPER_URL = "http://ca.example.com/lower.crt", "http://ca.example.com/upper.p7c"
HERE = "tls://203.0.113.7:443/"


def access(url: str) -> list[tuple[x509.ExtensionType, bool]]:
    described = x509.AccessDescription(
        AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(url)
    )
    return [(x509.AuthorityInformationAccess([described]), False)]


ROOT = make_ca()
UPPER = make_ca("Upper", issuer=ROOT, key_number=140)
LOWER = make_certificate(
    names=(), subject="Lower", issuer=UPPER, is_ca=True, key_number=141, extensions=access(UPPER_URL)
)
LEAF = make_certificate(issuer=LOWER, extensions=access(URL))


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        yield inventory


def issuers(tried: Tried) -> tuple[Certificate, ...]:
    return next(
        each.issuers for each in tried.reader.due(tried.clock(), 100) if each.served.location.uri == HERE
    )


def test_the_nearest_comes_first_and_its_own_issuer_after_it(tried: Tried) -> None:
    tried.record(
        tried.look(HERE, LEAF),
        tried.look(aia_location(URL), LOWER),
        # Several may be published together.
        tried.look(aia_location(UPPER_URL), ROOT, UPPER),
    )
    assert [each.der for each in issuers(tried)] == [LOWER.der, UPPER.der]


def test_what_the_chain_has_is_not_looked_for(tried: Tried) -> None:
    tried.record(tried.look(HERE, LEAF, LOWER, UPPER), tried.look(aia_location(URL), LOWER))
    assert issuers(tried) == ()


def test_what_is_published_under_another_name_is_no_issuer(tried: Tried) -> None:
    tried.record(tried.look(HERE, LEAF), tried.look(aia_location(URL), ROOT))
    assert issuers(tried) == ()


def test_a_place_that_is_gone_publishes_nothing(tried: Tried) -> None:
    tried.record(tried.look(HERE, LEAF), tried.look(aia_location(URL), LOWER))
    tried.record(tried.look(HERE, LEAF))
    assert issuers(tried) == ()
