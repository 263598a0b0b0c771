"""Where a key is, as one line of text: PKCS#11 URIs (RFC 7512)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote_from_bytes, unquote_to_bytes

from certwatch.ca.failure import CAError

_SCHEME = "pkcs11:"
MAX_LENGTH = 4096
#: RFC 7512, 2.3: of the path and of the query, those that mean something here.
_PATH = frozenset(
    {
        "token",
        "manufacturer",
        "serial",
        "model",
        "object",
        "type",
        "id",
        "library-manufacturer",
        "library-description",
        "library-version",
        "slot-id",
        "slot-description",
        "slot-manufacturer",
    }
)
_QUERY = frozenset({"pin-source", "pin-value", "module-path", "module-name"})
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenURI:
    #: The token's label, its serial number: what is given must match. At least one is.
    token: str | None = None
    serial: str | None = None
    #: Label of the key, and its CKA_ID.
    object: str | None = None
    id: bytes | None = None
    #: The PKCS#11 library.
    module_path: str
    #: `file:/path`, or a path. None: see `pin_value`.
    pin_source: str | None = None
    #: The PIN itself: never written anywhere by us.
    pin_value: str | None = None

    def __repr__(self) -> str:
        return self.public

    @property
    def public(self) -> str:
        """The URI without a PIN in it: may be shown and kept."""
        path = [
            (name, value.encode())
            for name, value in (("token", self.token), ("serial", self.serial), ("object", self.object))
            if value is not None
        ]
        if self.id is not None:
            path.append(("id", self.id))
        query = [("module-path", self.module_path.encode())]
        if self.pin_source is not None:
            query.append(("pin-source", self.pin_source.encode()))

        def written(pairs: list[tuple[str, bytes]]) -> list[str]:
            return [f"{name}={quote_from_bytes(value, safe='/:.-_~ '.strip())}" for name, value in pairs]

        return _SCHEME + ";".join(written(path)) + "?" + "&".join(written(query))

    def without_key(self) -> "TokenURI":
        """The token alone."""
        return replace(self, object=None, id=None)

    def with_key(self, *, label: str, id: bytes) -> "TokenURI":
        return replace(self, object=label, id=id)


def _attributes(text: str, separator: str, known: frozenset[str]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for pair in text.split(separator) if text else ():
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _wrong(f'"{name[:40]}" has no value')
        if name not in known:
            if name.startswith("x-"):
                continue  # RFC 7512, 2.3: vendors' own
            raise _wrong(f'"{name[:40]}" is not an attribute of RFC 7512 that is used here')
        if name in found:
            raise _wrong(f'"{name}" stands in it twice')
        if _BROKEN_ESCAPE.search(value):
            raise _wrong(f'"{name}" has a percent sign that is no escape')
        found[name] = unquote_to_bytes(value)
    return found


def parse(text: str) -> TokenURI:
    """Raises CAError "usage"."""
    if not text.startswith(_SCHEME) or len(text) > MAX_LENGTH or not text.isprintable():
        raise _wrong("it begins with pkcs11: and is one line")
    path_text, _, query_text = text.removeprefix(_SCHEME).partition("?")
    path, query = _attributes(path_text, ";", _PATH), _attributes(query_text, "&", _QUERY)

    def word(source: Mapping[str, bytes], name: str) -> str | None:
        if name not in source:
            return None
        try:
            return source[name].decode()
        except UnicodeDecodeError as error:
            raise _wrong(f'"{name}" is not UTF-8') from error

    module = word(query, "module-path")
    if module is None:
        raise _wrong("it does not say which library: add ?module-path=/usr/lib/…/lib….so")
    token, serial = word(path, "token"), word(path, "serial")
    if token is None and serial is None:
        raise _wrong("it does not say which token: add token=LABEL or serial=NUMBER")
    return TokenURI(
        token=token,
        serial=serial,
        object=word(path, "object"),
        id=path.get("id"),
        module_path=module,
        pin_source=word(query, "pin-source"),
        pin_value=word(query, "pin-value"),
    )


def _wrong(why: str) -> CAError:
    # The URI itself is not repeated: it may hold a PIN.
    return CAError(
        "usage",
        f"pkcs11 URI: {why}. Example: pkcs11:token=certwatch?module-path=/usr/lib/softhsm/libsofthsm2.so",
    )
