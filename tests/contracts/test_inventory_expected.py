"""Every store: which endpoints are looked at for a host that is expected."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.inventories import STORES, TIMEOUT, Tried, opened

LEAF = make_certificate()


@pytest.fixture(params=STORES)
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tried]:
    with opened(request.param, tmp_path) as inventory:
        inventory.record(
            inventory.look("tls://192.0.2.1:443/?sni=www.example.com", LEAF),
            inventory.look("tls://192.0.2.1:25/?sni=www.example.com&protocol=smtp", LEAF),
            inventory.look("tls://192.0.2.2:443/?sni=www.example.com.evil.test", LEAF),
            inventory.look("tls://www.example.com:8443/", error=TIMEOUT),
            inventory.look("tls://[2001:db8::1]:443/", LEAF),
        )
        inventory.settle()
        yield inventory


def endpoints(tried: Tried, host: str) -> dict[str, bool]:
    tried.record(
        tried.look(f"host://{host}:443", facts={"expected_host": host, "expected_port": 443}),
        collector="hosts",
    )
    (due,) = [
        each
        for each in tried.reader.due(tried.clock(), 10)
        if each.served.location.uri == f"host://{host}:443"
    ]
    return {each.location: each.answered for each in due.endpoints}


def test_they_are_found_by_the_name_asked_for_and_by_the_host_connected_to(tried: Tried) -> None:
    assert endpoints(tried, "www.example.com") == {
        "tls://192.0.2.1:443/?sni=www.example.com": True,
        "tls://192.0.2.1:25/?sni=www.example.com&protocol=smtp": True,
        "tls://www.example.com:8443/": False,
    }


def test_addresses_of_both_families_are_found(tried: Tried) -> None:
    assert endpoints(tried, "2001:db8::1") == {"tls://[2001:db8::1]:443/": True}
    tried.settle()
    assert set(endpoints(tried, "192.0.2.2")) == {"tls://192.0.2.2:443/?sni=www.example.com.evil.test"}


def test_a_host_that_nobody_looks_at_has_none(tried: Tried) -> None:
    assert endpoints(tried, "example.com") == {}
