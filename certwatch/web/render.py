"""From values to HTML. Whatever a template shows is made safe twice: invisible and turning characters become escapes,
then markup is escaped. Templates hold no script and no style of their own."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote, unquote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from certwatch.model.certificate import Certificate
from certwatch.model.instants import left
from certwatch.model.observation import Fact
from certwatch.model.shown import common_name, shown

#: By file name.
STATIC: Mapping[str, tuple[bytes, str]] = {
    name: (files("certwatch.web").joinpath("static", name).read_bytes(), media_type)
    for name, media_type in (("certwatch.css", "text/css; charset=utf-8"), ("icon.svg", "image/svg+xml"))
}
#: A changed stylesheet has another address, so that browsers may keep it.
STATIC_VERSION = sha256(b"".join(body for body, _ in STATIC.values())).hexdigest()[:12]

#: Longer text is cut, and shown whole behind a disclosure.
LONG = 160
#: And that is cut here: nobody reads on.
LONGEST = 100_000


def _finalize(value: Any) -> Any:
    """What every `{{ … }}` goes through."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else shown(str(value)[:LONGEST])


def certificate_path(fingerprint: bytes | str) -> str:
    return f"/certificates/{fingerprint if isinstance(fingerprint, str) else fingerprint.hex()}"


def location_path(uri: str) -> str:
    return "/locations/" + quote(uri, safe="", errors="replace")


def rule_path(id: str) -> str:
    return "/rules/" + quote(id, safe="", errors="replace")


def query_path(path: str, **parameters: object) -> str:
    """With those parameters that say something."""
    said = {key: str(value) for key, value in parameters.items() if value not in (None, "")}
    return path + ("?" + urlencode(said, errors="replace") if said else "")


def minute_of(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def fact(value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def paragraphs(text: str) -> list[str]:
    return [each for each in re.split(r"\s*\n\s*\n\s*", text.strip()) if each]


def called(certificate: Certificate) -> str:
    """What people call it: its first name, else the common name of its subject."""
    if certificate.names and not certificate.is_ca:
        return certificate.names[0].partition(":")[2] or certificate.names[0]
    return common_name(certificate.subject) or "(no name)"


def place(uri: str, certificate: Certificate) -> str:
    """The location beside its certificate: the name asked for is left out where the certificate's own says it."""
    address, mark, query = uri.partition("/?sni=")
    if mark and unquote(query) == called(certificate):
        return address
    return uri


def key_text(certificate: Certificate) -> str:
    key = certificate.key
    names = {
        "rsa": "RSA",
        "ec": "EC",
        "dsa": "DSA",
        "ed25519": "Ed25519",
        "ed448": "Ed448",
        "ml-dsa": "ML-DSA",
    }
    size = key.curve if key.curve else f"{key.bits} bits" if key.bits else ""
    return f"{names.get(key.type, key.type)} {size}".strip()


def urgency(not_after: datetime | None, now: datetime) -> str:
    """How near the end is, as a class and a word: "expired", "soon" (2 days), "near" (30 days), "far"."""
    if not_after is None:
        return "unknown"
    days = (not_after - now).total_seconds() / 86_400
    return "expired" if days < 0 else "soon" if days < 2 else "near" if days < 30 else "far"


def spent(certificate: Certificate, now: datetime) -> int | None:
    """How much of its validity has passed, in percent. None: its dates do not say."""
    lifetime = certificate.lifetime
    if lifetime is None or not lifetime or certificate.not_before is None:
        return None
    return max(0, min(100, round((now - certificate.not_before) / lifetime * 100)))


def hex_pairs(value: bytes | None) -> str:
    return "" if value is None else value.hex(":")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("certwatch.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Callable[..., Any]] = {
        "called": called,
        "common_name": common_name,
        "fact": fact,
        "hex_pairs": hex_pairs,
        "key_text": key_text,
        "left": left,
        "minute": minute_of,
        "paragraphs": paragraphs,
        "place": place,
        "spent": spent,
        "urgency": urgency,
    }
    environment.filters.update(filters)
    environment.globals.update(
        certificate_path=certificate_path,
        location_path=location_path,
        query_path=query_path,
        rule_path=rule_path,
        static_version=STATIC_VERSION,
        LONG=LONG,
    )
    return environment


_ENVIRONMENT = _environment()


def render(template: str, **values: object) -> bytes:
    """Deterministic. Bytes of UTF-8; lone surrogates have become escapes by then."""
    return _ENVIRONMENT.get_template(template).render(values).encode("utf-8", "backslashreplace")
