"""What is nested too deep is cut out, and all around it stays."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.doors.kubernetes.nesting import DEPTH, shallow

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='ab[]{}"\\\n\u20ac', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='a[{"\\', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def cut(value: Any, depth: int) -> Any:
    if isinstance(value, (list, dict)) and depth == 0:
        return None
    if isinstance(value, list):
        return [cut(each, depth - 1) for each in value]
    if isinstance(value, dict):
        return {key: cut(each, depth - 1) for key, each in value.items()}
    return value


@given(JSON, st.integers(0, 4))
def test_what_is_too_deep_is_null_and_nothing_else_is_touched(value: Any, depth: int) -> None:
    assert json.loads(shallow(json.dumps(value).encode(), depth)) == cut(value, depth)


@given(st.binary(max_size=60))
def test_of_what_is_no_json_it_makes_nothing_that_raises(data: bytes) -> None:
    shallow(data, 1)


@pytest.mark.parametrize("levels", [DEPTH, 1_000, 10_000, 300_000])
def test_ten_thousand_levels_and_more_are_read(levels: int) -> None:
    deep = b'{"before":1,"deep":' + b'{"f:a":' * levels + b"{}" + b"}" * levels + b',"after":"}"}'
    found = msgspec.json.decode(shallow(deep))
    assert (found["before"], found["after"]) == (1, "}")
