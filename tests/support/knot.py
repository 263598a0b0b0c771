"""A real authoritative name server (Knot DNS) with one zone, on a free port of loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import accepts, free_port, program, running

KEY_NAME, KEY_SECRET = "transfer.test", "c2VjcmV0IG9mIHRoZSB0cmFuc2ZlciBrZXk="


@contextmanager
def knot(
    folder: Path, zone: str, records: str, *, tsig: bool = False, updates: bool = False
) -> Iterator[int]:
    """Its port. `records`: lines of the zone, beside SOA and NS. `tsig`: transfers need the key, else an address of
    loopback. `updates`: by the key (RFC 2136)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "db").mkdir()
    port = free_port()
    (folder / "zone").write_text(
        f"$ORIGIN {zone}.\n$TTL 60\n@ SOA ns admin 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}\n"
    )
    allowed = f"key: {KEY_NAME}" if tsig else "address: 127.0.0.0/8"
    (folder / "knot.conf").write_text(
        f"server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n"
        "  background-workers: 1\n"
        f"database:\n  storage: {folder}/db\n"
        f"key:\n  - id: {KEY_NAME}\n    algorithm: hmac-sha256\n    secret: {KEY_SECRET}\n"
        f"acl:\n  - id: transfers\n    {allowed}\n    action: transfer\n"
        f"  - id: updates\n    key: {KEY_NAME}\n    action: update\n"
        f"zone:\n  - domain: {zone}\n    storage: {folder}\n    file: zone\n"
        f"    acl: {'[transfers, updates]' if updates else 'transfers'}\n"
        "log:\n  - target: stdout\n    any: warning\n"
    )
    with running(
        [program("knotd", "knot"), "-c", folder / "knot.conf"],
        ready=lambda: accepts(port),
        log=folder / "log",
        seconds=30,
    ):
        yield port
