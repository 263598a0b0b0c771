"""Where certificates are seen: one URI a place, stable across scans."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal, NewType
from urllib.parse import parse_qs, quote, unquote, urlsplit

#: "tls://203.0.113.7:443/?sni=www.example.com", "file:///etc/ssl/site.pem", "k8s://…", "aws://…", "ct://…"
LocationURI = NewType("LocationURI", str)

#: Kinds of places that are records of a certificate, not where it is in use: a log, a CA's database, where an issuer's
#: certificate is published. Nobody is served from there, so that its end there is nobody's outage.
RECORD_KINDS = frozenset(
    {"ct", "ct-search", "ct-log", "ct-watch", "sct", "cadb", "ca-database", "aia", "caa", "ari", "host"}
)

#: Kinds of places that say that a certificate was issued, whoever has it: an entry of a CT log, and what others say of the past.
LOGGED_KINDS = frozenset({"ct", "ct-search"})

#: Kinds of places that are files, of which nobody knows who reads them when: what is wrong there pages nobody.
FILE_KINDS = frozenset({"file", "url", "acme"})

#: Kinds of places where certificates lie for somebody to serve them: files, and stores of all sorts.
STORE_KINDS = frozenset(
    {"file", "url", "acme", "k8s", "vault", "aws", "azure", "gcp", "json", "cloudflare", "fastly"}
)

#: How a certificate stands at a place: presented to clients, lying there for somebody to serve it, or written down only.
Standing = Literal["served", "stored", "recorded"]

#: Of a URL that a certificate names, so much is kept.
MAX_URL = 500


def standing_of(uri: str) -> Standing:
    """Of the certificates at a place, by its kind. Of a kind that is not known (a plug-in's) they count as served: what may
    be in use is not overlooked."""
    kind = uri.partition(":")[0]
    if kind in RECORD_KINDS:
        return "recorded"
    return "stored" if kind in STORE_KINDS else "served"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    uri: LocationURI
    #: What routes and owner rules read: the collector's configured labels and what the source itself says.
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.uri.partition(":")[0]

    @property
    def standing(self) -> Standing:
        return standing_of(self.uri)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSEndpoint:
    """What a tls:// URI says."""

    host: str
    port: int
    #: The name asked for (SNI), in A-labels. None: none was sent.
    server_name: str | None
    #: The STARTTLS protocol. None: TLS from the first byte.
    protocol: str | None


#: Shown as it is, whatever it is: no name ends in digits.
_IPV4 = re.compile(r"[0-9.]+")


def tls_location(
    host: str, port: int, *, server_name: str | None = None, protocol: str | None = None
) -> LocationURI:
    """`host` is an address, or a name where no address is known (it did not resolve)."""
    if _IPV4.fullmatch(host):
        shown = host
    else:
        try:
            shown = f"[{host}]" if ip_address(host.partition("%")[0]).version == 6 else host
        except ValueError:
            shown = quote(host, safe="")
    return LocationURI(f"tls://{shown}:{port}/{_tls_query(server_name, protocol)}")


@lru_cache(maxsize=4096)
def _tls_query(server_name: str | None, protocol: str | None) -> str:
    query = [
        f"{key}={quote(value, safe='')}"
        for key, value in (("sni", server_name), ("protocol", protocol))
        if value
    ]
    return "?" + "&".join(query) if query else ""


#: As `tls_location` writes the usual ones; all others are taken apart by the library, which takes ten times as long.
_PLAIN = re.compile(r"tls://([a-z0-9.-]+):([0-9]{1,5})/(?:\?sni=([A-Za-z0-9_.-]+))?")


@lru_cache(maxsize=4096)
def parse_tls_location(uri: LocationURI) -> TLSEndpoint:
    plain = _PLAIN.fullmatch(uri)
    if plain is not None and int(plain[2]) < 65536:
        return TLSEndpoint(host=plain[1], port=int(plain[2]), server_name=plain[3], protocol=None)
    parts = urlsplit(uri)
    if parts.scheme != "tls" or parts.hostname is None or parts.port is None:
        raise ValueError(f"not a tls location: {uri}")
    query = parse_qs(parts.query)
    return TLSEndpoint(
        host=unquote(parts.hostname),
        port=parts.port,
        server_name=query.get("sni", [None])[0],
        protocol=query.get("protocol", [None])[0],
    )


def file_location(path: str, entry: str = "") -> LocationURI:
    """`path` is absolute. Bytes that are not UTF-8 (surrogate escapes) are percent-encoded as they are. `entry`: the
    part of a container (a keystore's alias), as fragment: "file:///etc/tomcat.jks#site". Empty: the file itself."""
    quoted = quote(path.encode("utf-8", "surrogateescape"), safe="/")
    return LocationURI("file://" + quoted + ("#" + quote(entry, safe="/", errors="replace") if entry else ""))


def url_location(url: str, entry: str = "") -> LocationURI:
    """A file that stands at a URL; `entry` as for files on disk."""
    shown = "url:" + quote(url[:MAX_URL], safe="/:[].?=&%+,;@~")
    return LocationURI(shown + ("#" + quote(entry, safe="/", errors="replace") if entry else ""))


def aia_location(url: str) -> LocationURI:
    """Where an issuer's certificate is published."""
    return LocationURI("aia:" + quote(url[:MAX_URL], safe="/:[].?=&%+,;@~"))


def parse_file_location(uri: LocationURI) -> str:
    """The path, whatever the entry."""
    if not uri.startswith("file://"):
        raise ValueError(f"not a file location: {uri}")
    return unquote(uri.removeprefix("file://").partition("#")[0], errors="surrogateescape")


def parse_file_entry(uri: LocationURI) -> str:
    """The part of the container. Empty: the file itself."""
    return unquote(uri.partition("#")[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSecret:
    """A key of a secret in a KV mount of Vault, as its URI says it."""

    #: Name of the collector that sees it.
    collector: str
    #: Without slashes around it; nor has the path.
    mount: str
    path: str
    #: Whose value the certificate is.
    key: str


def vault_secret_location(secret: VaultSecret) -> LocationURI:
    where = f"{quote(secret.collector, safe='')}/{quote(secret.mount)}/secret/{quote(secret.path)}"
    return LocationURI(f"vault://{where}?key={quote(secret.key, safe='')}")


def parse_vault_secret_location(uri: str, mounts: Iterable[str]) -> VaultSecret | None:
    """`mounts`: those it may be of, for their paths may have slashes. None: it is of none of these."""
    parts = urlsplit(uri)
    key = parse_qs(parts.query, keep_blank_values=True).get("key", [""])[0]
    if parts.scheme != "vault" or parts.fragment or not key:
        return None
    for mount in sorted((each.strip("/") for each in mounts), key=len, reverse=True):
        begins = f"/{quote(mount)}/secret/"
        if parts.path.startswith(begins) and len(parts.path) > len(begins):
            path = unquote(parts.path.removeprefix(begins))
            return VaultSecret(collector=unquote(parts.netloc), mount=mount, path=path, key=key)
    return None
