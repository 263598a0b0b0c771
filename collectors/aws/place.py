"""Locations and labels: `aws://ACCOUNT/REGION/SERVICE/…`."""

from collections.abc import Iterable, Mapping
from urllib.parse import quote

from certwatch.model.location import LocationURI

#: In a URI, for services that are of no region.
GLOBAL = "global"
_MOST_LABELS = 30
_LONGEST_LABEL = 200
#: Users of a certificate that are named.
_MOST_USERS = 20


def location(account: str, region: str, service: str, *path: str, part: str = "") -> LocationURI:
    """`part`: of something that holds several, as fragment."""
    steps = "/".join(quote(step, safe="/") for step in (account, region, service, *path))
    return LocationURI(f"aws://{steps}" + (f"#{quote(part, safe='/')}" if part else ""))


def scope(account: str, region: str, service: str) -> str:
    return f"{account}/{region}/{service}"


def issued_location(collector: str, account: str, region: str, authority: str, serial: str) -> LocationURI:
    """A certificate in a private CA's books: `cadb://COLLECTOR/SERIAL?ca=ACCOUNT/REGION/CA`."""
    return LocationURI(f"cadb://{quote(collector, safe='')}/{serial}?ca={account}/{region}/{authority}")


def issued_scope(account: str, region: str, authority: str) -> str:
    return f"{account}/{region}/acm-pca/{authority}"


def scope_of(uri: str) -> str:
    """The scope that a location is of."""
    if uri.startswith("cadb:"):
        account, _, rest = uri.partition("?ca=")[2].partition("/")
        return issued_scope(account, *rest.partition("/")[::2])
    return "/".join(uri.removeprefix("aws://").split("/")[:3])


def name_of(arn: str) -> str:
    """What stands last in it."""
    return arn.rpartition("/")[2] or arn.rpartition(":")[2]


def labels_of(
    tags: Mapping[str, str], owner_tags: Iterable[str], tag_labels: Iterable[str]
) -> dict[str, str]:
    """Owner and labels that tags say. People write tags in any case."""
    folded = {key.lower(): value.strip()[:_LONGEST_LABEL] for key, value in tags.items() if value.strip()}
    labels: dict[str, str] = {}
    wanted = [each.lower() for each in tag_labels]
    for key in folded if "*" in wanted else wanted:
        if key in folded and len(labels) < _MOST_LABELS:
            labels[key] = folded[key]
    for key in owner_tags:
        if key.lower() in folded:
            labels["owner"] = folded[key.lower()]
            break
    return labels


def users(arns: Iterable[str]) -> str:
    """One text of those that use a certificate, sorted."""
    found = sorted(set(arns))
    more = f" and {len(found) - _MOST_USERS} more" if len(found) > _MOST_USERS else ""
    return " ".join(found[:_MOST_USERS]) + more
