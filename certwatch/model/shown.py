"""Text from certificates, servers and files, made safe to show. They may say anything."""

from collections.abc import Sequence


def shown(text: str) -> str:
    """Control, bidirectional and other invisible characters become escapes: nothing moves the cursor, turns text
    around, or hides."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text
    )


def common_name(name: str) -> str:
    """Of an RFC 4514 name what people call it: its first CN, else O, else all of it."""
    parts = _split(name)
    for kind in ("CN=", "O="):
        for part in parts:
            if part.startswith(kind):
                return part[len(kind) :]
    return name


def _split(name: str) -> Sequence[str]:
    parts, current, escaped = [], "", False
    for each in name:
        if each == "," and not escaped:
            parts.append(current)
            current = ""
        else:
            current += each
        escaped = each == "\\" and not escaped
    return [*parts, current]
