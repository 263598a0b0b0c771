"""Which server certificates of IAM follow which, by their names."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import Issued, make_certificate
from certwatch.remediation.deployers.aws.iam import LONGEST_NAME, Held, base_of, followers, name_after
from certwatch.x509.der import read

NAMES = st.text("abcXYZ019+=,.@_-", min_size=1, max_size=LONGEST_NAME)
FORMER, NEW, NEWER = (make_certificate(key_number=each) for each in (31, 32, 33))
DAY = datetime(2026, 1, 1, tzinfo=UTC)


def held(name: str, issued: Issued, *, day: int) -> Held:
    return Held(
        name=name,
        arn=f"arn:aws:iam::123456789012:server-certificate/{name}",
        path="/",
        uploaded=DAY + timedelta(days=day),
        chain=(issued.der,),
    )


def after(name: str, issued: Issued) -> str:
    return name_after(name, read(issued.der).fingerprint_sha256)


@given(NAMES, st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_name_never_grows_past_what_iam_takes(name: str, one: bytes, other: bytes) -> None:
    first = name_after(name, one)  # type: ignore[arg-type]
    second = name_after(first, other)  # type: ignore[arg-type]
    assert len(first) <= LONGEST_NAME
    assert len(second) <= LONGEST_NAME
    assert base_of(name) == base_of(first) == base_of(second)


def test_long_names_that_begin_alike_are_not_taken_for_one_another() -> None:
    one, other = "x" * 120 + "one", "x" * 120 + "other"
    assert base_of(one) != base_of(other)
    assert after(one, NEW) != after(other, NEW)


def test_what_was_uploaded_later_under_its_own_fingerprint_follows_the_newest_first() -> None:
    former = held("web", FORMER, day=1)
    new, newer = held(after("web", NEW), NEW, day=2), held(after("web", NEWER), NEWER, day=3)
    assert followers([new, former, newer], former) == [newer, new]


def test_what_an_earlier_roll_out_left_does_not_follow() -> None:
    left, former = held(after("web", NEW), NEW, day=1), held(after("web", FORMER), FORMER, day=2)
    assert followers([left, former], former) == []


def test_what_people_named_alike_does_not_follow() -> None:
    former = held("web", FORMER, day=1)
    named = [held("web-certwatch-0123456789abcdef", NEW, day=2), held("web-2", NEW, day=2)]
    assert followers([former, *named], former) == []
