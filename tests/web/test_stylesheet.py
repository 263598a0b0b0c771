"""The stylesheet's colours can be read in both themes, and it needs nothing from elsewhere."""

import re

import pytest

from certwatch.web.render import STATIC

STYLE = STATIC["certwatch.css"][0].decode()

#: What is written on what.
PAIRS = [
    (ink, ground)
    for ground in ("ground", "surface", "sunken")
    for ink in ("text", "quiet", "accent", "page", "ticket", "info", "good")
] + [
    ("on-accent", "accent"),
    ("page", "page-ground"),
    ("ticket", "ticket-ground"),
    ("info", "info-ground"),
    ("good", "good-ground"),
    ("text", "page-ground"),
    ("text", "ticket-ground"),
    ("quiet", "page-ground"),
    ("quiet", "ticket-ground"),
]


def colours(theme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)[:2]
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found if theme == "light" else found | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_as_wcag_computes_it() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS)
def test_text_can_be_read(theme: str, ink: str, ground: str) -> None:
    found = colours(theme)
    assert contrast(found[ink], found[ground]) >= 4.5


def test_colours_stand_at_the_top_alone() -> None:
    rules = re.sub(r":root \{.*?\}", "", STYLE, flags=re.DOTALL)
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgb\(|hsl\(", rules) == []


def test_nothing_is_loaded() -> None:
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_focus_is_seen() -> None:
    assert ":focus-visible" in STYLE
    assert "outline: none" not in STYLE
    assert "outline: 0" not in STYLE
