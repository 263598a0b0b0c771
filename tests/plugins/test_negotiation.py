import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.negotiation import takes_gzip, weights


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP, deflate", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("gzip;q=0.5", True),
        ("*", True),
        ("*;q=0", False),
        ("gzip;q=0, *", False),
        ("identity;q=1, *;q=0", False),
        ("br, x-gzip", True),
        ("gzip;q=nonsense", False),
        ("notgzip", False),
    ],
)
def test_gzip_is_sent_to_who_takes_it_and_to_nobody_who_refuses_it(header: str, taken: bool) -> None:
    assert takes_gzip(header) is taken


@given(st.text())
def test_no_header_breaks_it(header: str) -> None:
    weights(header)
