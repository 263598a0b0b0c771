"""JSON that is nested deeper than a parser goes. API servers take ten thousand levels, where nobody looks (managedFields): whoever may
write one object could keep all that stand in one list with it from being read."""

import re

#: What is deeper than this becomes null. Nothing that is read stands nearly as deep, and no parser has trouble with it.
DEPTH = 200
#: A string, so that brackets in it are none; or a bracket.
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


def shallow(data: bytes, depth: int = DEPTH) -> bytes:
    """The same JSON with null in place of what is nested deeper. Of anything else it makes nothing better."""
    parts: list[bytes] = []
    level = kept = 0
    for token in _TOKEN.finditer(data):
        sign = data[token.start()]
        if sign in b"[{":
            level += 1
            if level == depth + 1:
                parts += (data[kept : token.start()], b"null")
                kept = len(data)
        elif sign in b"]}":
            level -= 1
            if level == depth:
                kept = token.end()
    return b"".join((*parts, data[kept:]))
