import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.tiles import index_of, split, written


@pytest.mark.parametrize(
    ("index", "path"), [(0, "000"), (67, "067"), (1234067, "x001/x234/067"), (1000, "x001/000")]
)
def test_numbers_of_tiles_are_written_in_groups_of_three(index: int, path: str) -> None:
    assert written(index) == path
    assert index_of(path) == index


@given(st.integers(0, 10**18))
def test_what_is_written_is_read_again(index: int) -> None:
    assert split(written(index)) == (index, 256)
    assert split(f"{written(index)}.p/17") == (index, 17)


@given(st.text(alphabet="x0123456789/.p", max_size=30))
def test_a_path_from_anybody_has_one_form_or_is_none(path: str) -> None:
    found = split(path)
    if found is not None:
        index, width = found
        assert path in (written(index), f"{written(index)}.p/{width}")
