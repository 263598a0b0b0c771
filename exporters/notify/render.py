"""A message as plain text, as HTML, and as JSON (docs/notifications.md has its schema). Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import groupby

import msgspec

from exporters.notify.message import MAX_SHOWN, Expiring, Item, Message, clean, unicode

#: Of the JSON; a field that goes or changes its meaning counts it up, a new field does not.
SCHEMA_VERSION = 1

_SECTIONS = (("new", "New"), ("open", "Still open"), ("resolved", "Resolved"))
_COLOURS = {"page": "#b00020", "ticket": "#8a5300", "info": "#444444"}


def as_json(message: Message) -> bytes:
    def shown(items: Sequence[Item] | Sequence[Expiring]) -> list[Item | Expiring]:
        return list(items[:MAX_SHOWN])

    return msgspec.json.encode(
        {
            "version": SCHEMA_VERSION,
            "id": message.id,
            "kind": message.kind,
            "route": unicode(message.route),
            "sent_at": message.sent_at.astimezone(UTC),
            "title": message.title,
            "external_url": message.external_url,
            "counts": {
                "new": len(message.new),
                "open": len(message.open),
                "resolved": len(message.resolved),
                "expiring": len(message.expiring),
            },
            "new": shown(message.new),
            "open": shown(message.open),
            "resolved": shown(message.resolved),
            "expiring": shown(message.expiring),
        }
    )


def as_text(message: Message) -> str:
    return "\n".join(_text(message)) + "\n"


def _text(message: Message) -> Iterator[str]:
    yield message.title
    for name, heading in _SECTIONS:
        items: tuple[Item, ...] = getattr(message, name)
        if not items:
            continue
        yield from ("", f"{heading.upper()} ({len(items)})")
        for owner, owned in groupby(items[:MAX_SHOWN], key=lambda each: each.owner):
            yield from ("", f"{_owner(owner)}:")
            for each in owned:
                yield f"  {each.severity}: {each.summary} [{each.rule}]"
                yield f"    at {each.location}, since {_minute(each.opened_at)}"
                if name == "new" and each.text:
                    yield f"    {each.text}"
                if name == "new" and each.runbook:
                    yield f"    {each.runbook}"
        if len(items) > MAX_SHOWN:
            yield f"  … and {len(items) - MAX_SHOWN} more"
    if message.expiring:
        yield from ("", f"EXPIRING WITHIN {message.within} ({len(message.expiring)})", "")
        for soon in message.expiring[:MAX_SHOWN]:
            yield f"  {_minute(soon.not_after)}  {soon.name} ({_owner(soon.owner)})"
            yield f"    {soon.location}{_elsewhere(soon)}"
        if len(message.expiring) > MAX_SHOWN:
            yield f"  … and {len(message.expiring) - MAX_SHOWN} more"
    if message.external_url:
        yield from ("", message.external_url)


def as_html(message: Message) -> str:
    """A fragment without scripts, pictures or foreign style, as mail programs show it. Everything is escaped."""
    return "\n".join(_html(message))


def _html(message: Message) -> Iterator[str]:
    yield '<div style="font-family:sans-serif;font-size:14px;color:#1a1a1a">'
    yield f"<h2>{escape(message.title)}</h2>"
    for name, heading in _SECTIONS:
        items: tuple[Item, ...] = getattr(message, name)
        if not items:
            continue
        yield f"<h3>{heading} ({len(items)})</h3>"
        for owner, owned in groupby(items[:MAX_SHOWN], key=lambda each: each.owner):
            yield f"<h4>{escape(_owner(owner))}</h4><ul>"
            for each in owned:
                yield _html_item(each, full=name == "new")
            yield "</ul>"
        if len(items) > MAX_SHOWN:
            yield f"<p>… and {len(items) - MAX_SHOWN} more</p>"
    if message.expiring:
        yield f"<h3>Expiring within {escape(message.within)} ({len(message.expiring)})</h3>"
        yield '<table cellpadding="4"><tr><th align="left">Expires</th><th align="left">Certificate</th>'
        yield '<th align="left">Owner</th><th align="left">Location</th></tr>'
        for soon in message.expiring[:MAX_SHOWN]:
            cells = (_minute(soon.not_after), soon.name, _owner(soon.owner), soon.location + _elsewhere(soon))
            yield "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        yield "</table>"
        if len(message.expiring) > MAX_SHOWN:
            yield f"<p>… and {len(message.expiring) - MAX_SHOWN} more</p>"
    if message.external_url:
        yield f'<p><a href="{escape(message.external_url)}">{escape(message.external_url)}</a></p>'
    yield "</div>"


def _html_item(item: Item, *, full: bool) -> str:
    parts = [
        f'<li><b style="color:{_COLOURS[item.severity]}">{item.severity}</b> {escape(item.summary)}',
        f"<br><small>{escape(item.location)}, since {_minute(item.opened_at)}</small>",
    ]
    if full and item.text:
        parts.append(f"<br>{escape(item.text)}")
    if full and item.runbook.startswith(("http://", "https://")):
        parts.append(f'<br><a href="{escape(item.runbook)}">{escape(item.rule)}</a>')
    return "".join(parts) + "</li>"


def _owner(owner: str) -> str:
    return clean(owner, 80) or "nobody's"


def _elsewhere(expiring: Expiring) -> str:
    return f" and {expiring.locations - 1} more" if expiring.locations > 1 else ""


def _minute(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")
