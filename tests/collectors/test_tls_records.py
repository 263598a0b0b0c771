"""From what DNS says to endpoints."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.dns_answers import KINDS, Record
from collectors.tls.sources.config import DNSSource
from collectors.tls.sources.records import _of_names, _of_zone

NAMES = DNSSource(names=["www.example.com"], type="A", ports="443,8443")
ZONE = DNSSource(zone="example.com")


def texts(*records: Record, source: DNSSource = ZONE) -> list[str]:
    make = _of_names if source.names else _of_zone
    return [each.text for each in make(records, source)]


def test_an_address_is_asked_for_by_its_name() -> None:
    found = texts(
        Record(name="www.example.com", kind="A", host="192.0.2.1"),
        Record(name="www.example.com", kind="AAAA", host="2001:db8::1"),
        source=NAMES,
    )
    assert found == [
        f"tls://{host}:{port}/?sni=www.example.com"
        for host in ("192.0.2.1", "[2001:db8::1]")
        for port in (443, 8443)
    ]


@pytest.mark.parametrize(
    ("name", "port", "text"),
    [
        ("_https._tcp.example.com", 8443, ["a.example.com:8443"]),
        ("_imap._tcp.example.com", 143, ["a.example.com:143/imap"]),
        ("_XMPP-Server._tcp.example.com", 5269, ["a.example.com:5269/xmpp-server"]),
        ("_gone._tcp.example.com", 0, []),
    ],
)
def test_a_service_has_its_port_and_its_starttls(name: str, port: int, text: list[str]) -> None:
    assert texts(Record(name=name, kind="SRV", host="a.example.com", port=port)) == text


def test_a_root_says_that_there_is_nothing() -> None:
    assert texts(
        Record(name="_x._tcp.example.com", kind="SRV", host="", port=443),
        Record(name="example.com", kind="MX", host=""),
    ) == []  # fmt: skip


def test_a_zones_hosts_are_named_once_and_its_service_labels_are_no_hosts() -> None:
    assert texts(
        Record(name="www.example.com", kind="A", host="192.0.2.1"),
        Record(name="www.example.com", kind="AAAA", host="2001:db8::1"),
        Record(name="alias.example.com", kind="CNAME", host="www.example.com"),
        Record(name="_acme-challenge.example.com", kind="CNAME", host="x.example.net"),
        Record(name="example.com", kind="MX", host="mx.example.com"),
    ) == ["www.example.com:443", "alias.example.com:443", "mx.example.com:25/smtp"]


@given(st.sampled_from(KINDS), st.text(max_size=80), st.text(max_size=80), st.integers(0, 65535))
def test_nothing_that_dns_says_breaks_it(kind: str, name: str, host: str, port: int) -> None:
    record = Record(name=name, kind=kind, host=host, port=port)  # type: ignore[arg-type]
    texts(record)
    texts(record, source=NAMES)
