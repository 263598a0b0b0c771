"""The embedded CA: issuance through a token against the token's own signature, audits, and large CRLs.

`CERTWATCH_BENCH_CRL=1000000` makes the list of the size that the target is for."""

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from pkcs11 import Mechanism

from certwatch.ca import audit, crl
from certwatch.ca.authority import Authority
from certwatch.ca.issue import Certified, issue
from certwatch.ca.ledger import row_digest
from certwatch.ca.pkcs11_uri import parse
from certwatch.ca.request import load_csr, order_of
from certwatch.model.clock import system_clock
from tests.bench.result import Result
from tests.support.cas import authority, issued, order, softhsm

#: As the service takes them.
BATCH = 256
ORDERS = 2048
ROUNDS = 3
AUDITED = 60_000
DIGEST = hashlib.sha256(b"x").digest()
REVOKED = int(os.environ.get("CERTWATCH_BENCH_CRL", "100000"))


@contextmanager
def _folder() -> Iterator[Path]:
    # On a disk: /tmp may be memory, where nothing is durable and everything is fast.
    with tempfile.TemporaryDirectory(dir=os.environ.get("CERTWATCH_BENCH_FOLDER")) as folder:
        yield Path(folder)


def run() -> list[Result]:
    with _folder() as folder:
        results = [*_issuance(folder), _audit(folder)]
    return [*results, *_crl_in_a_process_of_its_own()]


def _issuance(folder: Path) -> list[Result]:
    place = softhsm(folder, "bench")
    (folder / "issuance").mkdir()
    with authority(folder / "issuance", system_clock, key_place=place) as ca:
        session = ca.keys._source(parse(ca.issuer().key)).open()
        orders = [(order(ca, f"dns:h{number}.example.com"), None) for number in range(ORDERS)]
        issued(ca)

        def bare() -> float:
            """C_Sign in one session: what the token gives to who has nothing but PKCS#11."""
            with session._source.module.using():
                started = time.perf_counter()
                for _ in range(ORDERS):
                    session._key.sign(DIGEST, mechanism=Mechanism.ECDSA)
                return ORDERS / (time.perf_counter() - started)

        def whole() -> float:
            started = time.perf_counter()
            for first in range(0, ORDERS, BATCH):
                made = issue(ca, orders[first : first + BATCH])
                assert all(isinstance(each, Certified) for each in made)
            return ORDERS / (time.perf_counter() - started)

        pairs = [(bare(), whole()) for _ in range(ROUNDS)]
        signed, all_of_it = (max(each) for each in zip(*pairs, strict=True))
        csr = _csr()
        checked = _rate(lambda: order_of(load_csr(csr), ca.settings.profiles["server"], requester="a", submitter="a"), 500)  # fmt: skip
    (folder / "linted").mkdir()
    with authority(folder / "linted", system_clock, key_place=place, lint=True) as ca:
        issued(ca)
        linted = _rate(lambda: issue(ca, [(order(ca, "dns:h.example.com"), None)] * 64), 2) * 64
    how = f"SoftHSM, EC P-256, batches of {BATCH}, synced to disk; C_Sign {signed:,.0f}/s, best of {ROUNDS}"
    return [
        Result(
            what="certificates issued through the token, ledger durable, against bare C_Sign",
            measured=all_of_it / signed,
            unit="of it",
            target=0.4,
            at_least=True,
            how=f"{how}; {all_of_it:,.0f} certificates/s",
        ),
        Result(
            what="the same, linted by form",
            measured=linted,
            unit="/s",
            how="one of a form in a thousand is linted; CSRs are made meanwhile; batches of 64",
        ),
        Result(what="CSRs checked: proof of possession and every field", measured=checked, unit="/s"),
    ]


def _csr() -> bytes:
    from certwatch.ca.key_file import generate
    from certwatch.ca.new_request import make_csr

    return make_csr(generate("ec-p256"), ["dns:www.example.com"], None).encode()


def _rate(what: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        what()
    return times / (time.perf_counter() - started)


def _audit(folder: Path) -> Result:
    """A ledger as issuance writes it: a request, an intent and a certificate each."""
    (folder / "audited").mkdir()
    with authority(folder / "audited", system_clock) as ca:
        der = issued(ca).certificate.public_bytes(Encoding.DER)
        template = ca.rows("SELECT entry FROM ledger ORDER BY position DESC LIMIT 3")[::-1]
        bodies = [json.loads(entry) for (entry,) in template]
        for first in range(0, AUDITED // 3, BATCH):
            _lived(ca, der, bodies, range(first, min(first + BATCH, AUDITED // 3)))
        directory = ca.settings.directory
    # By the processor's time: it waits for nothing, and others may use the machine as well.
    started = time.process_time()
    found = audit.verify(directory)
    seconds = time.process_time() - started
    assert not found.wrong, found.wrong[:3]
    return Result(
        what="ledger entries verified by ca audit verify",
        measured=found.entries / seconds,
        unit="/s",
        target=100_000,
        at_least=True,
        how=f"{found.entries:,} entries, {found.certificates:,} certificates held against them; one core",
    )


def _lived(ca: Authority, der: bytes, bodies: list[dict[str, Any]], numbers: range) -> None:
    digest = hashlib.sha256(der).hexdigest()
    with ca.act() as act:
        requests = [
            (act.connection.execute("INSERT INTO requests (at, channel, requester, submitter, profile, wanted, needed, state)"
             " SELECT at, channel, requester, submitter, profile, wanted, needed, state FROM requests LIMIT 1").lastrowid, number)
            for number in numbers
        ]  # fmt: skip
        serials = {number: f"{number + 1:032x}" for number in numbers}
        act.connection.executemany(
            "INSERT INTO certificates (serial, issuer, request, profile, requester, names, shard, not_before, not_after,"
            " state, der) VALUES (?, 1, ?, 'server', 'alice', 'dns:www.example.com', 0, 0, ?, 'issued', ?)",
            [(bytes.fromhex(serials[number]), request, 1 << 52, der) for request, number in requests],
        )
        act.connection.execute("UPDATE shards SET certificates = certificates + ?", (len(requests),))
        # What each entry says of its row (see `ledger.row_digest`): of requests all alike.
        intents = {number: row_digest(1, 0, request, "server", "alice", "dns:www.example.com", 0, 1 << 52, None) for request, number in requests}  # fmt: skip
        for body in bodies:
            kind = body["kind"]
            rest = {name: value for name, value in body.items() if name not in ("kind", "at")}
            act.append(
                kind,
                [
                    rest
                    | {"request": request}
                    | ({"serial": serials[number]} if "serial" in rest else {})
                    | ({"sha256": digest} if "sha256" in rest else {})
                    | ({"row": intents[number]} if kind == "intent" else {})
                    for request, number in requests
                ],
            )


def _crl_in_a_process_of_its_own() -> list[Result]:
    """So that its memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_ca"], stdout=subprocess.PIPE, check=True, timeout=1500
    )
    seconds, mebibytes, size, slowest = json.loads(done.stdout)
    how = f"{REVOKED:,} entries, {size / 1e6:.0f} MB, read from the database, signed, stored"
    full = REVOKED >= 1_000_000
    return [
        Result(what="making a CRL", measured=seconds, unit="s", target=30, how=how),
        Result(
            what="memory while it is made",
            measured=mebibytes,
            unit="MiB",
            target=1024,
            how=f"{how}; the whole process"
            + ("" if full else "; CERTWATCH_BENCH_CRL=1000000 for the full size"),
        ),
        Result(what="slowest certificate issued meanwhile", measured=slowest, unit="s", how=how),
    ]


def _crl(folder: Path) -> tuple[float, float, int, float]:
    with authority(folder, system_clock) as ca:
        issuer = ca.issuer()
        with ca.act() as act:
            act.connection.executemany(
                "INSERT INTO certificates (serial, issuer, profile, requester, names, shard, not_before, not_after,"
                " state, der, revoked, reason) VALUES (?, 1, 'server', 'a', '', 0, 0, ?, 'issued', x'30', ?, 'superseded')",
                (
                    ((1 << 126 | number * 0x9E3779B97F4A7C15).to_bytes(16, "big"), 1 << 52, 1_700_000_000_000_000 + number)
                    for number in range(REVOKED)
                ),
            )  # fmt: skip
        before = issued(ca)
        assert before.serial
        ended = threading.Event()
        slowest = 0.0

        def go_on() -> None:
            nonlocal slowest
            number = 0
            while not ended.is_set():
                wanted = order(ca, f"dns:h{number}.example.com")
                started = time.perf_counter()
                issue(ca, [(wanted, None)])
                slowest = max(slowest, time.perf_counter() - started)
                number += 1

        others = threading.Thread(target=go_on)
        others.start()
        started = time.perf_counter()
        der = crl.make(ca, issuer, 0)
        seconds = time.perf_counter() - started
        ended.set()
        others.join()
        return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(der), slowest


if __name__ == "__main__":
    with _folder() as at:
        json.dump(_crl(at), sys.stdout)
