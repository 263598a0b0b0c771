"""Secrets and ConfigMaps: keys to places."""

from collections.abc import Callable, Mapping

import msgspec

from collectors.file.contents import failed, one_line
from collectors.kubernetes.config import matches
from collectors.kubernetes.material import key_beside
from collectors.kubernetes.objects import ConfigMap, Meta, Secret, Unreadable, bytes_of, decode, text
from collectors.kubernetes.place import Place
from collectors.kubernetes.reading import MAX_FAILED, MAX_PLACES, Read, Reading

#: Keys that are looked into whatever is configured.
ALWAYS = ("tls.crt", "ca.crt")
_TLS = "kubernetes.io/tls"

Value = Callable[[], bytes]


def secret(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """Raises Unreadable: it is no Secret."""
    found = decode(item, Secret)
    meta, config = found.metadata, reading.config
    if not reading.wants_name(meta.name) or not found.data:
        return Read(meta=meta)
    wanted = matches(found.type, config.secret_types) if config.secret_types else True
    if not wanted or (not config.secret_types and matches(found.type, config.exclude_secret_types)):
        return Read(meta=meta)
    values: dict[str, Value] = {key: _bytes(raw) for key, raw in found.data.items()}
    keys = ALWAYS if found.type == _TLS else (*ALWAYS, *config.keys)
    return _all("secret", meta, values, keys, reading)


def config_map(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """Raises Unreadable: it is no ConfigMap."""
    found = decode(item, ConfigMap)
    return _read(found, reading) if reading.wants_name(found.metadata.name) else Read(meta=found.metadata)


def copied(item: bytes | msgspec.Raw, reading: Reading) -> Read:
    """A ConfigMap that is passed over elsewhere. Raises Unreadable: it is none."""
    return _read(decode(item, ConfigMap), reading)


def _read(found: ConfigMap, reading: Reading) -> Read:
    meta = found.metadata
    values: dict[str, Value] = {key: _text(raw) for key, raw in (found.data or {}).items()}
    values |= {key: _bytes(raw) for key, raw in (found.binary_data or {}).items()}
    return _all("configmap", meta, values, (*ALWAYS, *reading.config.keys), reading)


def _bytes(raw: msgspec.Raw) -> Value:
    return lambda: bytes_of(raw)


def _text(raw: msgspec.Raw) -> Value:
    return lambda: text(raw).encode("utf-8", "surrogatepass")


def _all(kind: str, meta: Meta, values: Mapping[str, Value], keys: tuple[str, ...], reading: Reading) -> Read:
    purse = reading.purses.of(meta.namespace)

    def beside(key: str) -> bytes | None:
        try:
            return values[key]() if key in values else None
        except Unreadable:
            return None

    found: list[Place] = []
    failures = 0
    for key in sorted(values):
        if not matches(key, keys):
            continue
        if len(found) >= MAX_PLACES or failures >= MAX_FAILED:
            where = reading.where(kind, meta)
            part = failed(
                "other",
                f"{where}: has more than is looked at in one object: its keys from {one_line(key)} on are left out."
                " Split it, or exclude it",
            )
            found = [*found[: MAX_PLACES - 1], reading.place(kind, meta, "", part)]
            break
        try:
            data = values[key]()
        except Unreadable as error:
            part = failed("malformed", f"{reading.where(kind, meta, key)}: {error}. Check what wrote it")
            found.append(reading.place(kind, meta, key, part))
            failures += 1
            continue

        def private_key(key: str = key) -> bytes | None:
            return next((value for name in key_beside(key) if (value := beside(name)) is not None), None)

        def passphrases(key: str = key) -> tuple[str, ...]:
            return reading.passphrases(meta, key, beside)

        places = reading.places(
            kind, meta, key, data, private_key=private_key, passphrases=passphrases, work=purse
        )
        failures += any(each.error is not None for each in places)
        found += places
    return Read(meta=meta, places=tuple(found[:MAX_PLACES]), is_postponed=purse.is_postponed)
