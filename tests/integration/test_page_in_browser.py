"""The page in a real browser, without scripts: nothing overflows, everything can be read, reached and named."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from certwatch.web.app import make_app
from tests.support.chromium import Browser, chromium
from tests.support.filled import filled_site
from tests.support.servers import accepts, free_port, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

#: WCAG 2.2, 1.4.3, level AA; large text (1.4.3) may have less.
LEAST_CONTRAST, LEAST_LARGE = 4.5, 3.0

#: Text that has less contrast with what is behind it than that, with its contrast.
FAINT = (
    Path(__file__)
    .parent.parent.joinpath("support/faint_text.js")
    .read_text()
    .replace("? LARGE : LEAST", f"? {LEAST_LARGE} : {LEAST_CONTRAST}")
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A filled inventory, with hostile names in it, on a port of its own."""
    port = free_port()
    with filled_site(tmp_path_factory.mktemp("site")) as filled:
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(filled), host="127.0.0.1", port=port, log_level="critical", lifespan="off"
            )
        )
        thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
        thread.start()
        try:
            wait_until(lambda: accepts(port), what="the page")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


PATHS = (
    "/",
    "/certificates",
    "/findings",
    "/findings/1",
    "/collectors",
    "/rules",
    "/rules/expiry",
    "/certificates/00000000ab",
)


def every(site: str, browser: Browser, width: int = 1280) -> Iterator[str]:
    """Each page, and one certificate and one location, which the others link to."""
    yield from PATHS
    browser.open(f"{site}/certificates", width=width)
    yield browser.evaluate(
        "document.querySelector('td a[href^=\"/certificates/\"], th a[href^=\"/certificates/\"]').getAttribute('href')"
    )
    yield browser.evaluate("document.querySelector('a[href^=\"/locations/\"]').getAttribute('href')")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_and_everything_can_be_read(
    site: str, browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    for path in list(every(site, browser)):
        browser.open(site + path, width=width, dark=dark)
        browser.screenshot(tmp_path / f"{path.strip('/').replace('/', '-')[:40] or 'overview'}.png")
        assert browser.evaluate("document.documentElement.scrollWidth") <= width, path
        assert browser.evaluate(FAINT) == [], path


def nodes(browser: Browser, role: str) -> list[dict[str, Any]]:
    return [each for each in browser.accessible() if each["role"] == role]


def test_a_screen_reader_is_told_what_everything_is(site: str, browser: Browser) -> None:
    for path in list(every(site, browser)):
        browser.open(site + path, width=1280)
        assert (
            len(browser.evaluate("[...document.querySelectorAll('h1')].map(each => each.innerText)")) == 1
        ), path
        assert browser.evaluate("document.documentElement.lang") == "en"
        assert len(nodes(browser, "main")) == 1, path
        for role in ("link", "button", "textbox", "searchbox", "combobox", "table", "navigation"):
            for each in nodes(browser, role):
                assert each["name"] or role == "navigation", (path, each)


def test_the_first_key_leads_past_the_menu_and_focus_can_be_seen(site: str, browser: Browser) -> None:
    browser.open(f"{site}/", width=1280)
    browser.press("Tab", 9)
    assert browser.evaluate("document.activeElement.getAttribute('href')") in ("#main", "#content")
    browser.press("Tab", 9)
    outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
