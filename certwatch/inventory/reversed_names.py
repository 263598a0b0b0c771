"""Names as table `names` holds them: without the kind, lower-case, spelt backwards."""

from collections.abc import Iterable

from certwatch.inventory.text import storable
from certwatch.model.certificate import Name


def reversed_names(names: Iterable[Name]) -> set[str]:
    return {reverse(name[name.index(":") + 1 :]) for name in names}


#: Of a name: an entry of PostgreSQL's b-trees has 2,704 bytes. No host's name is longer than 255.
_LONGEST = 600


def reverse(name: str) -> str:
    """Of one that is too long, its end."""
    return storable(name).lower()[::-1][:_LONGEST]
