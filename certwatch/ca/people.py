"""Who is who: four eyes are of two people, however many names and certificates each of them has."""

import pwd
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from certwatch.ca.failure import CAError
from certwatch.model.shown import shown

#: By a name, with small letters: whose it is.
People = Mapping[str, str]
_UNSET = 2**32 - 1


def people_of(configured: Mapping[str, Sequence[str]]) -> People:
    """By person, the names that they come by; the person's own is one of them. Raises CAError "usage"."""
    found: dict[str, str] = {}
    for person, names in configured.items():
        for name in dict.fromkeys([person, *names]):
            other = found.setdefault(name.casefold(), person)
            if other != person:
                raise CAError(
                    "usage",
                    f"ca: people: {shown(name)[:100]} is said to be {shown(other)} and {shown(person)}",
                )
    return found


def same(people: People, one: str, other: str) -> bool:
    """What is uncertain counts as the same person: `ann` who sits here, and email:ann@example.com, unless `people` says who
    each of them is."""
    one, other = one.casefold(), other.casefold()
    if one in people and other in people:
        return people[one] == people[other]
    return one == other or _mailbox(one) == other or one == _mailbox(other)


def _mailbox(name: str) -> str | None:
    return name.removeprefix("email:").partition("@")[0] if name.startswith("email:") else None


def whose(people: People, names: Iterable[str], others: Iterable[str]) -> str | None:
    """The first of `others` that is the same person as one of `names`. None: nobody is."""
    mine = [*names]
    return next(
        (other for other in others if other and any(same(people, each, other) for each in mine)), None
    )


def who_logged_in(process: int | None = None) -> str | None:
    """Whose session a process (None: this one) belongs to, by the kernel's own record (loginuid of audit): neither `su`, `sudo` nor
    the environment changes it. None: the system keeps none, as for services and in containers."""
    try:
        uid = int(Path(f"/proc/{process or 'self'}/loginuid").read_bytes())
    except (OSError, ValueError):
        return None
    if uid == _UNSET:
        return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
