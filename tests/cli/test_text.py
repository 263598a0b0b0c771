"""Hostile text stays where it is put."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.cli.shapes import csv_cell
from certwatch.cli.table import write_table
from certwatch.cli.text import cell, common_name, first_of, pad, shown, width


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("red \x1b[31m", "red \\x1b[31m"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\u202eevil", "\\u202eevil"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("file-\udcff", "file-\\udcff"),
        ("münchen 東京", "münchen 東京"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_would_move_the_cursor_becomes_an_escape(text: str, expected: str) -> None:
    assert shown(text) == expected


@given(st.text())
def test_whatever_is_shown_is_one_printable_line(text: str) -> None:
    assert shown(text).isprintable()
    assert len(cell(text)) <= 120


def test_columns_are_counted_as_a_terminal_does() -> None:
    assert width("東京") == 4
    assert pad("東京", 6) == "東京  "
    assert width("e\u0301") == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CN=www.example.com,O=Example", "www.example.com"),
        ("O=Example\\, Inc.,C=DE", "Example\\, Inc."),
        ("C=DE", "C=DE"),
        ("", ""),
    ],
)
def test_a_name_is_shortened_to_what_people_call_it(name: str, expected: str) -> None:
    assert common_name(name) == expected


def test_the_first_of_many_is_followed_by_how_many_more() -> None:
    assert (first_of([]), first_of(["a"]), first_of(["a", "b", "c"])) == ("—", "a", "a +2")


def test_a_spreadsheet_gets_no_formula() -> None:
    assert csv_cell('=HYPERLINK("x")') == '\'=HYPERLINK("x")'
    assert csv_cell("-0a") == "-0a"
    assert (csv_cell(None), csv_cell(True), csv_cell(7)) == ("", "true", "7")


def test_a_plain_table_is_aligned_and_streams(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_table(("a", "bc"), [("x" * 5, "y"), ("", "\x1b[0m")]) == 2
    assert capsys.readouterr().out == "A      BC\nxxxxx  y\n       \\x1b[0m\n"
    assert write_table(("a",), ((str(n),) for n in range(5000))) == 5000
    assert len(capsys.readouterr().out.splitlines()) == 5001
    assert write_table(("a",), []) == 0
    assert capsys.readouterr().out == ""
