"""The only road to a plug-in, ours and others': by entry point, by name, on first use."""

import difflib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, distribution, entry_points, packages_distributions
from typing import Any, Literal

Group = Literal["collectors", "rules", "exporters", "issuers", "deployers"]
GROUPS: tuple[Group, ...] = ("collectors", "rules", "exporters", "issuers", "deployers")

#: What an object must have to be taken, by group.
MEMBERS: dict[str, tuple[str, ...]] = {
    "collectors": ("Config", "collect"),
    "rules": ("id", "title", "why", "fix", "severity", "source", "evaluate", "Config"),
    "exporters": ("Config", "start", "publish", "run", "routes"),
    "issuers": ("Config", "issue", "revoke"),
    "deployers": ("Config", "takes", "deploy", "activate", "present", "undo", "forget"),
}

#: Our top-level import names. Another distribution that owns one of them has overwritten our files.
OUR_PACKAGES = ("certwatch", "collectors", "rules", "exporters")


class PluginError(Exception):
    """A plug-in cannot be had. The message says which, why, and what to do."""


class ExtraMissing(PluginError):
    """Its library is not installed: it is one of the extras of its distribution, and nobody asked for that one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginInfo:
    group: str
    name: str
    distribution: str
    version: str
    #: module:attribute
    target: str


@cache
def _entry_points(group: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"certwatch.{group}"):
        claims = found.setdefault(point.name, [])
        # One distribution can be found twice (its folder stands on the path twice): that is one claim.
        if not any(_owner(point) == _owner(other) and point.value == other.value for other in claims):
            claims.append(point)
    return found


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "?"


def names(group: Group) -> list[str]:
    """Every kind that can be loaded, sorted."""
    return sorted(_entry_points(group))


def load(group: Group, kind: str) -> Any:
    """The plug-in object of that kind.

    Raises PluginError: unknown (with the nearest known name), claimed twice, its library missing (ExtraMissing: with
    the extra to install), broken on import, or without a member that its group needs.
    """
    known = _entry_points(group)
    claims = known.get(kind)
    what = f"{group.removesuffix('s')} kind {kind!r}"
    if claims is None:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise PluginError(f"unknown {what}{hint} (known: {', '.join(sorted(known)) or 'none'})")
    if len(claims) > 1:
        raise PluginError(
            f"{what} is claimed by {' and '.join(sorted(_owner(point) for point in claims))}: uninstall one of them"
        )
    (point,) = claims
    try:
        plugin = point.load()
    except ModuleNotFoundError as error:
        raise _missing(point, what, error) from error
    except Exception as error:
        # A stranger's module may raise anything on import; it must not take the program with it.
        raise PluginError(
            f"{what} ({point.value} of {_owner(point)}) cannot be imported: {error!r}"
        ) from error
    for member in MEMBERS[group]:
        if not hasattr(plugin, member):
            raise PluginError(
                f"{what} ({point.value} of {_owner(point)}) has no {member!r}: see docs/plugins.md"
            )
    return plugin


def _missing(point: EntryPoint, what: str, error: ModuleNotFoundError) -> PluginError:
    needed = error.name or str(error)
    extras = (point.dist.metadata.get_all("Provides-Extra") or []) if point.dist is not None else []
    if point.name in extras:
        how = f'pip install "{_owner(point)}[{point.name}]"'
        return ExtraMissing(f"{what} needs {needed}. Install it with: {how}")
    return PluginError(f"{what} ({point.value} of {_owner(point)}) needs {needed}, which is not installed")


def installed() -> list[PluginInfo]:
    """Every plug-in that metadata names, loaded or not."""
    return [
        PluginInfo(
            group=group,
            name=point.name,
            distribution=_owner(point),
            version=point.dist.version if point.dist is not None else "?",
            target=point.value,
        )
        for group in GROUPS
        for _, claims in sorted(_entry_points(group).items())
        for point in claims
    ]


def foreign_owners() -> dict[str, list[str]]:
    """Our import names that another distribution has installed files under, with all owners.

    pip says nothing when it replaces `rules/__init__.py` of one distribution by another's.
    """
    owners = packages_distributions()
    ours = distribution("certwatch").name
    return {name: sorted(set(owners[name])) for name in OUR_PACKAGES if set(owners.get(name, ())) - {ours}}
