"""Messages as people and programs read them, whatever names certificates bear."""

import json
from datetime import timedelta
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import EPOCH
from exporters.notify.message import MAX_SHOWN, Expiring, Message, item
from exporters.notify.render import as_html, as_json, as_text
from tests.exporters.test_notify import finding

EXPIRING = Expiring(
    name="www.example.com",
    issuer="CN=R11",
    not_after=EPOCH + timedelta(days=3),
    fingerprint_sha256="00" * 32,
    owner="payments",
    location="tls://192.0.2.1:443/",
    locations=3,
)
MESSAGE = Message(
    kind="digest",
    route="payments",
    sent_at=EPOCH,
    new=(item(finding(1, owner="payments"), "https://certwatch.example.com"),),
    open=(item(finding(2, owner="payments", severity="ticket"), "https://certwatch.example.com"),),
    resolved=(item(finding(3, owner=""), ""),),
    expiring=(EXPIRING,),
    within="30d",
    external_url="https://certwatch.example.com",
)
TEXT = """\
certwatch (payments): 1 new, 1 open, 1 resolved, 1 expiring within 30d

NEW (1)

payments:
  page: matter 1 [expiry]
    at tls://192.0.2.1:443/, since 2026-11-01 12:00Z
    Renew it.
    https://certwatch.example.com/docs/rules/expiry.md

STILL OPEN (1)

payments:
  ticket: matter 2 [expiry]
    at tls://192.0.2.2:443/, since 2026-11-01 12:00Z

RESOLVED (1)

nobody's:
  page: matter 3 [expiry]
    at tls://192.0.2.3:443/, since 2026-11-01 12:00Z

EXPIRING WITHIN 30d (1)

  2026-11-04 12:00Z  www.example.com (payments)
    tls://192.0.2.1:443/ and 2 more

https://certwatch.example.com
"""


def test_text_says_it_by_owner() -> None:
    assert as_text(MESSAGE) == TEXT


def test_json_has_the_documented_keys() -> None:
    told = json.loads(as_json(MESSAGE))
    assert list(told) == [
        *("version", "id", "kind", "route", "sent_at", "title", "external_url", "counts"),
        *("new", "open", "resolved", "expiring"),
    ]
    assert told["sent_at"] == "2026-11-01T12:00:00Z"
    assert set(told["new"][0]) == {
        *("id", "rule", "severity", "owner", "location", "summary", "text", "runbook", "opened_at"),
    }


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert all(name in ("href", "style", "align", "cellpadding") for name, _ in attrs), attrs
        self.links += [value or "" for name, value in attrs if name == "href"]


def tags(html: str) -> Tags:
    found = Tags()
    found.feed(html)
    found.close()
    return found


@given(
    st.text(st.characters(codec=None), max_size=60)
    | st.sampled_from(['<img src=x onerror="a()">', "a\r\nBcc: b"])
)
def test_whatever_a_name_says_it_makes_no_tag_no_link_no_header_and_no_line(text: str) -> None:
    hostile = finding(1, summary=text, text=text or "t", owner=text or "o", location="tls://" + text)
    message = Message(
        kind="pages",
        route=text,
        sent_at=EPOCH,
        new=(item(hostile, ""),),
        external_url="https://c.example.com",
    )
    plain = Message(
        kind="pages",
        route="r",
        sent_at=EPOCH,
        new=(item(finding(1), ""),),
        external_url="https://c.example.com",
    )
    assert message.title.isprintable()
    assert sorted(tags(as_html(message)).tags) == sorted(tags(as_html(plain)).tags)
    assert tags(as_html(message)).links == ["https://c.example.com"]
    assert abs(len(as_text(message).splitlines()) - len(as_text(plain).splitlines())) <= 2
    assert json.loads(as_json(message))["new"][0]["id"] == 1


def test_ten_thousand_findings_and_names_of_a_hundred_kilobytes_make_a_message_of_bounded_size() -> None:
    items = tuple(item(finding(1, summary="x" * 100_000, text="y" * 100_000), "") for _ in range(10_000))
    message = Message(
        kind="digest", route="", sent_at=EPOCH, new=items, expiring=(EXPIRING,) * 10_000, within="30d"
    )
    for rendered in (as_text(message), as_html(message), as_json(message).decode()):
        assert len(rendered) < 400_000
    assert f"… and {10_000 - MAX_SHOWN} more" in as_text(message)
    assert json.loads(as_json(message))["counts"]["new"] == 10_000
