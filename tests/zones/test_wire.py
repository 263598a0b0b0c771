"""What workers push: read as it was said, and nothing else taken."""

from datetime import timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.model.location import LocationURI
from certwatch.model.observation import ERROR_KINDS, LookError, Observation
from certwatch.plugins.testing import EPOCH
from certwatch.zones import wire

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
looks = st.builds(
    Observation,
    location=st.integers(1, 254).map(lambda it: LocationURI(f"tls://192.0.2.{it}:443/")),
    observed_at=st.integers(0, 10**6).map(lambda it: EPOCH + timedelta(microseconds=it)),
    chain=st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    facts=st.dictionaries(
        texts.filter(bool), texts | st.booleans() | st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3
    ),
    error=st.none() | st.builds(LookError, kind=st.sampled_from(ERROR_KINDS), message=texts),
    labels=st.dictionaries(texts.filter(bool), texts, max_size=3),
    stapled_ocsp=st.none() | st.binary(max_size=10),
    scope=texts,
    guessed=st.booleans(),
    absent=st.booleans(),
)


@given(st.lists(looks, max_size=5))
def test_looks_are_read_as_they_were_seen(seen: list[Observation]) -> None:
    assert [each for body in wire.batches(seen) for each in wire.observations(body)] == seen


@given(st.binary(max_size=200))
def test_what_is_no_batch_is_refused(data: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        wire.observations(data)


def look(**changed: object) -> bytes:
    said: dict[str, object] = {
        "location": "tls://192.0.2.1:443/",
        "observed_at": EPOCH,
        "chain": [],
        "facts": {},
        "error": None,
        "labels": {},
        "stapled_ocsp": None,
        "scope": "",
        "guessed": False,
        "absent": False,
    } | changed
    return msgspec.msgpack.encode({"looks": [list(said.values())]})


def test_the_plain_look_is_taken() -> None:
    assert len(wire.observations(look())) == 1
    elsewhere = EPOCH.astimezone(timezone(timedelta(hours=5)))
    assert wire.observations(look(observed_at=elsewhere))[0].observed_at == EPOCH


@pytest.mark.parametrize(
    "changed",
    [
        {"location": "no place"},
        {"location": "tls://[::1:443/"},
        {"location": "tls://host:99999/"},
        {"location": "file:///etc/\nssl"},
        {"location": "x:" + "y" * 10_000},
        {"location": 7},
        {"observed_at": EPOCH.replace(tzinfo=None)},
        {"observed_at": "yesterday"},
        {"chain": ["text"]},
        {"chain": [b"x"] * 10_001},
        {"facts": {"": 1}},
        {"facts": {"a": [1]}},
        {"facts": {str(each): 1 for each in range(501)}},
        {"error": ["invented", "x"]},
        {"error": ["dns", "x" * (wire.MAX_TEXT + 1)]},
        {"labels": {"a": 1}},
        {"guessed": 1},
    ],
    ids=str,
)
def test_a_look_that_cannot_be_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        wire.observations(look(**changed))


def test_more_looks_than_a_batch_may_have_are_refused_and_are_not_sent() -> None:
    seen = [Observation(location=LocationURI("tls://192.0.2.1:443/"), observed_at=EPOCH)] * (
        wire.MAX_LOOKS + 1
    )
    assert [len(wire.observations(each)) for each in wire.batches(seen)] == [wire.MAX_LOOKS, 1]


def test_large_looks_are_sent_in_several_messages_and_one_that_is_too_large_is_said() -> None:
    large = Observation(
        location=LocationURI("file:///a"), observed_at=EPOCH, chain=(b"x" * (wire.BATCH_BYTES - 1000),)
    )
    huge = Observation(location=LocationURI("file:///b"), observed_at=EPOCH, chain=(b"x" * wire.MAX_BYTES,))
    made = wire.batches([large, large, huge])
    assert len(made) == 3
    assert all(len(each) < wire.MAX_BYTES for each in made)
    said = [each for body in made for each in wire.observations(body)]
    assert said[2].error is not None
    assert "more than a worker can push" in said[2].error.message


def test_names_that_are_no_text_are_pushed_in_a_form_that_is() -> None:
    seen = Observation(
        location=LocationURI("file:///a"), observed_at=EPOCH, scope="/etc/\udcff", labels={"a": "\udc80"}
    )
    (body,) = wire.batches([seen])
    (said,) = wire.observations(body)
    assert (said.scope, said.labels) == ("/etc/\\udcff", {"a": "\\udc80"})
