"""ACME Renewal Information: its identifiers and answers."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.der import read
from collectors.ari import ARIConfig
from collectors.ari.window import certificate_id, read_directory, read_window


def test_the_identifier_is_the_key_identifiers_and_the_serials() -> None:
    """RFC 9773, 4.1 has this serial: 0x00 0x87 0x65 0x43 0x21, the zero kept."""
    from dataclasses import replace

    certificate = replace(
        read(make_certificate().der),
        serial_number=0x87654321,
        authority_key_id=bytes.fromhex("69885b6b87464041e1b37b847bd0ae2cded01c8d"),
    )
    assert certificate_id(certificate) == "aYhba4dGQEHhs3uEe9CuLN7QHI0.AIdlQyE"
    assert certificate_id(replace(certificate, serial_number=0x7F)) == "aYhba4dGQEHhs3uEe9CuLN7QHI0.fw"
    assert certificate_id(replace(certificate, authority_key_id=None)) is None
    assert certificate_id(replace(certificate, serial_number=-1)) is None


@given(st.integers(min_value=0, max_value=1 << 159))
def test_the_serial_is_that_of_the_der(serial: int) -> None:
    from dataclasses import replace

    id = certificate_id(replace(read(make_certificate().der), serial_number=serial, authority_key_id=b"x"))
    assert id is not None
    part = id.partition(".")[2]
    octets = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    assert int.from_bytes(octets, "big", signed=True) == serial
    assert len(octets) == 1 or octets[0] != 0 or octets[1] >= 0x80


def test_an_answer_is_read() -> None:
    window = read_window(
        b'{"suggestedWindow": {"start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00+01:00"},'
        b' "explanationURL": "https://acme.example.com/docs/ari"}'
    )
    assert window.start == datetime(2025, 1, 2, 4, tzinfo=UTC)
    assert window.end == datetime(2025, 1, 3, 3, tzinfo=UTC)
    assert window.explanation_url == "https://acme.example.com/docs/ari"
    assert read_directory(b'{"newOrder": "x", "renewalInfo": "https://a/b"}') == "https://a/b"
    assert read_directory(b"{}") == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"suggestedWindow": {}}',
        b'{"suggestedWindow": {"start": "2025-01-02T04:00:00", "end": "2025-01-03T04:00:00"}}',
        b'{"suggestedWindow": {"start": "2025-01-04T04:00:00Z", "end": "2025-01-03T04:00:00Z"}}',
    ],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        read_window(body)


@given(st.binary(max_size=200))
def test_nonsense_is_refused_and_breaks_nothing(body: bytes) -> None:
    for reads in (read_window, read_directory):
        try:
            reads(body)
        except ValueError:
            pass


def test_a_directory_that_is_no_https_url_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="is no https URL"):
        ARIConfig(directories={"*": "http://acme.example.com/dir"})
    assert make_ca is not None
