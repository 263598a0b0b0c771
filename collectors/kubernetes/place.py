"""What one object has to show: places, each with its URI."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from certwatch.model.location import LocationURI
from certwatch.model.observation import Fact, LookError

#: In a URI, for objects that are in no namespace.
NO_NAMESPACE = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    location: LocationURI
    chain: tuple[bytes, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict)
    error: LookError | None = None
    #: Certificates that it alone holds: bytes of them.
    own_bytes: int = 0


def location(
    cluster: str, namespace: str, kind: str, name: str, *, key: str = "", entry: str = "", host: str = ""
) -> LocationURI:
    """`k8s://prod/payments/secret/web-tls?key=tls.crt`; `entry` is the part of a keystore, as fragment."""
    path = "/".join(quote(each, safe="") for each in (cluster, namespace or NO_NAMESPACE, kind, name))
    query = f"?key={quote(key, safe='')}" if key else f"?host={quote(host, safe='')}" if host else ""
    return LocationURI(
        f"k8s://{path}{query}" + (f"#{quote(entry, safe='/', errors='replace')}" if entry else "")
    )
