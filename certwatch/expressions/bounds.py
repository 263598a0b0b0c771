"""What a condition may cost. The library has no bound of its own and cannot be interrupted: one that doubles a text thirty times
takes the whole process with it, and conditions also come from whoever may read the API.

Each is asked of every certificate, and some of these are hostile: what it costs follows from its text and from how long lists are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

#: Macros within one another.
DEEPEST = 2
#: Additions in one condition: each makes a text as long as both together.
MOST_ADDITIONS = 8
#: How often the variables of two macros within one another are named, multiplied: by so much a list of lists can grow.
MOST_NAMED = 256
#: Steps of two macros within one another for one certificate: less than a tenth of a second.
MOST_STEPS = 250_000
#: Characters of a condition that are about one step.
STEP = 12

_MACRO = re.compile(r"\.\s*(all|exists|exists_one|map|filter)\s*\((?:\s*([A-Za-z_]\w*)\s*,)?")


class TooCostly(Exception):
    """The message says what of it is too much."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        #: Character of the condition, from 0.
        self.at = at


@dataclass(frozen=True, slots=True, kw_only=True)
class Nested:
    """Macros within one another: the lengths of two lists, multiplied. A single macro costs no more than the certificate is long."""

    #: No list that is written in the condition is longer.
    written: int
    #: Of one turn.
    steps: int
    #: The outer ones go through this variable: `chain`, which is short. None: through another list.
    through: str | None

    def allow(self, values: Mapping[str, object]) -> bool:
        longest = max(self.written, *map(_longest, values.values()), 0)
        outer = values.get(self.through) if self.through is not None else None
        return (len(outer) if isinstance(outer, list) else longest) * longest * self.steps <= MOST_STEPS


@dataclass(frozen=True, slots=True)
class _Macro:
    begin: int
    end: int
    #: How often its variable is named in it.
    named: int


def check(bare: str) -> Nested | None:
    """`bare`: the condition with its texts and remarks blanked. None: no macro stands within another. Raises TooCostly."""
    macros = [_macro(bare, match) for match in _MACRO.finditer(bare)]
    additions = [match.start() for match in re.finditer(r"\+", bare)]
    if len(additions) > MOST_ADDITIONS:
        raise TooCostly(f"more than {MOST_ADDITIONS} additions", additions[MOST_ADDITIONS])
    outer: set[int] = set()
    for macro in macros:
        around = [each for each in macros if each.begin < macro.begin < each.end]
        if len(around) >= DEEPEST:
            raise TooCostly(
                f"more than {DEEPEST} macros (exists, all, filter) within one another", macro.begin
            )
        if any(each.named * macro.named > MOST_NAMED for each in around):
            raise TooCostly("names the variables of two macros within one another too often", macro.begin)
        outer.update(each.begin for each in around)
    if not outer:
        return None
    through_chain = all(re.search(r"(?<![\w.])chain\s*$", bare[:begin]) for begin in outer)
    return Nested(
        written=bare.count(",") + 1,
        steps=1 + len(bare) // STEP,
        through="chain" if through_chain else None,
    )


def _macro(bare: str, match: re.Match[str]) -> _Macro:
    begin, end, open = match.start(), match.end(), 1
    if match[1] == "map":
        # What it makes can be twice as long each time, and nothing that is true or false needs it.
        raise TooCostly("map is not done here: ask with exists, all or filter", begin)
    if match[2] is None:
        raise TooCostly(f"{match[1]} wants a name and a condition: LIST.{match[1]}(each, …)", begin)
    while open and end < len(bare):
        open += {"(": 1, ")": -1}.get(bare[end], 0)
        end += 1
    named = len(re.findall(rf"\b{match[2]}\b", bare[match.end() : end]))
    return _Macro(begin, end, named)


def _longest(value: object) -> int:
    if isinstance(value, dict):
        return max(len(value), *map(_longest, value.values()), 0)
    if isinstance(value, list):
        return max(len(value), *(_longest(each) for each in value if isinstance(each, dict | list)), 0)
    return 0
