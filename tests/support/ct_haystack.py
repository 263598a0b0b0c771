"""A log of a hundred thousand entries in which two hundred certificates are hidden, by every trick that is known."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from certwatch.ct.leaves import leaf_index_extension, make_leaf
from certwatch.ct.scts import tbs_of
from certwatch.x509.tlv import Unreadable, encode
from tests.ct.odd_names import (
    BMP,
    KEY,
    OTHER,
    PRINTABLE,
    TELETEX,
    UNIVERSAL,
    UTF8,
    WATCHED,
    attribute,
    certificate,
    common_name,
    dns,
    harmless,
    name,
    san,
    tricks,
)
from tests.support.ct_log import BEGIN_MS, TestLog

ENTRIES, HIDDEN = 100_000, 200
_OUR_KEY = KEY.replace(bytes(range(64)), bytes(range(64, 128)))
#: What a collector is to watch for.
CONFIG = {
    "domains": list(WATCHED),
    "addresses": ["198.51.100.0/24", "2001:db8:77::/48"],
    "organizations": ["Example Widgets Ltd"],
    "keys": [sha256(_OUR_KEY).hexdigest()],
}


@dataclass(frozen=True, slots=True)
class Haystack:
    log: TestLog
    #: What each hidden entry does, by index.
    hidden: dict[int, str]


def _others() -> Iterator[tuple[str, bytes]]:
    """What is watched beside names."""
    for address in (bytes((198, 51, 100, 7)), bytes.fromhex("20010db8007700000000000000000001")):
        yield f"address of {len(address)} bytes", certificate(san(OTHER, encode(0x87, address)))
    for text in ("198.51.100.9", "2001:db8:77::2"):
        yield f"CN {text}", certificate(san(OTHER), subject=name([common_name(text)]))
        yield f"dNSName {text}", certificate(san(OTHER, dns(text)))
    for tag, code in (
        (UTF8, "utf-8"),
        (PRINTABLE, "ascii"),
        (TELETEX, "latin-1"),
        (BMP, "utf-16-be"),
        (UNIVERSAL, "utf-32-be"),
    ):
        for written in ("Example Widgets Ltd", "EXAMPLE WIDGETS, LTD."):
            organisation = attribute("55040a", tag, written.encode(code))
            yield (
                f"organisation {written!r}, tag {tag}",
                certificate(san(OTHER), subject=name([organisation])),
            )
    yield "our key", certificate(san(OTHER), key=_OUR_KEY)


def _hidden(chance: random.Random) -> list[tuple[str, bytes, bool]]:
    """What it does, the certificate, and whether it is logged as a precertificate."""
    once = [*tricks(), *_others()]
    made = [(what, data, False) for what, data in once] + [(what, data, True) for what, data in once]
    while len(made) < HIDDEN:
        # Any case, anywhere among others, any depth.
        labels = "".join(chance.choice("abcdefgh-_.") for _ in range(chance.randrange(12))).strip(".-")
        host = f"{labels}.x.example.com"
        written = "".join(chance.choice((c.lower(), c.upper())) for c in host)
        names = [dns(f"host{chance.randrange(10**6)}.unrelated.net") for _ in range(chance.randrange(1, 20))]
        names.insert(chance.randrange(len(names) + 1), dns(written))
        made.append((f"any case: {written}", certificate(san(*names)), bool(chance.randrange(2))))
    return made


@cache
def haystack(seed: int = 7) -> Haystack:
    """Not to be changed by tests, but for what is published of it. Its entries carry their index, as those of static logs do;
    a log of RFC 6962 may have such as well."""
    chance = random.Random(seed)  # noqa: S311
    log = TestLog(indexed=True)
    log.gzip = False
    made = _hidden(chance)
    chance.shuffle(made)
    places = sorted(chance.sample(range(ENTRIES), len(made)))
    waiting = dict(zip(places, made, strict=True))
    misses = [data for _, data in harmless()]
    for index in range(ENTRIES):
        if index in waiting:
            _add(log, waiting[index][1], is_precertificate=waiting[index][2])
        elif index % 97 == 0:
            _add(log, misses[index % len(misses)], is_precertificate=bool(index & 1))
        else:
            data = certificate(san(dns(f"host{index}.unrelated.net")), serial=index)
            _add(log, data, is_precertificate=index % 3 == 0)
    return Haystack(log=log, hidden={index: what for index, (what, _, _) in waiting.items()})


def _add(log: TestLog, data: bytes, *, is_precertificate: bool) -> None:
    index = len(log.leaves)
    extensions = leaf_index_extension(index)
    at = BEGIN_MS + index
    if not is_precertificate:
        log.append(make_leaf(data, at, extensions=extensions), b"\0\0\0", b"\0\0")
        return
    try:
        tbs = tbs_of(data)
    except Unreadable:
        tbs = data
    leaf = make_leaf(tbs, at, issuer_key_hash=bytes(32), extensions=extensions)
    # What stands beside is nobody's: only the leaf counts.
    beside = len(OTHER).to_bytes(3, "big") + OTHER
    log.append(leaf, beside + b"\0\0\0", beside + b"\0\0")
