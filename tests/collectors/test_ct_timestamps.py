"""Timestamps that certificates in use carry: are they the logs', are they enough, and were they kept."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ct.leaves import leaf_index_extension, make_leaf
from certwatch.model.location import LocationURI
from certwatch.model.observation import Observation
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509 import der
from certwatch.x509.tlv import encode
from tests.collectors.ct_stage import Reading, ordinary
from tests.support.ct_log import BEGIN_MS, TestLog, serving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
CA = make_ca("Public CA", key_number=140)
SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
LONG_AGO = BEGIN_MS - 86_400_000 * 3


def promised(log: TestLog, tbs: bytes, *, is_kept: bool, at: int = LONG_AGO) -> bytes:
    """An SCT, and the entry that it promises."""
    index = len(log.leaves)
    extensions = leaf_index_extension(index) if log.indexed else b""
    issuer_key = der.read(CA.der).spki_sha256
    assert issuer_key is not None
    leaf = make_leaf(tbs, at, issuer_key_hash=issuer_key, extensions=extensions)
    kept, other = (leaf, bytes(5)), (make_leaf(ordinary(index), at, extensions=extensions), bytes(2))
    entry, rest = kept if is_kept else other
    log.append(entry, b"", rest)
    body = b"\0" + log.key.log_id + at.to_bytes(8, "big")
    return body + len(extensions).to_bytes(2, "big") + extensions + log.sign(leaf)


def carrying(tbs_of: Issued, scts: Sequence[bytes]) -> Issued:
    """The same certificate with these."""
    packed = b"".join(len(each).to_bytes(2, "big") + each for each in scts)
    extension = x509.UnrecognizedExtension(SCT_LIST, encode(0x04, len(packed).to_bytes(2, "big") + packed))
    return make_certificate(
        issuer=CA, serial_number=tbs_of.certificate.serial_number, extensions=[(extension, False)]
    )


def serve(
    reading: Reading,
    issued: Issued,
    *,
    with_chain: bool = True,
    place: str = "tls://192.0.2.1:443/",
    facts: Mapping[str, str] | None = None,
) -> LocationURI:
    chain = (issued.der, CA.der) if with_chain else (issued.der,)
    reading.memory.record(
        Observation(location=LocationURI(place), observed_at=EPOCH, chain=chain, facts=dict(facts or {}))
    )
    return LocationURI(f"sct://{der.fingerprint(issued.der).hex()}")


@pytest.fixture(params=["rfc6962", "static"])
def logs(request: pytest.FixtureRequest) -> list[TestLog]:
    made = [
        TestLog(name=name, operator=name.upper(), number=number, indexed=request.param == "static")
        for name, number in (("a", 50), ("b", 51))
    ]
    for log in made:
        log.speaks = {request.param}
        for index in range(300):
            log.append(
                make_leaf(
                    ordinary(index), LONG_AGO, extensions=leaf_index_extension(index) if log.indexed else b""
                ),
                b"\0\0\0",
                b"\0\0",
            )
    return made


def reading_of(folder: Path, logs: Sequence[TestLog]) -> Reading:
    return Reading(folder, *logs, static=logs[0].indexed)


async def test_timestamps_that_are_signed_enough_and_kept_are_no_matter(
    tmp_path: Path, logs: list[TestLog]
) -> None:
    bare = make_certificate(issuer=CA, serial_number=4711)
    tbs = bare.certificate.tbs_certificate_bytes
    issued = carrying(bare, [promised(log, tbs, is_kept=True) for log in logs])
    for log in logs:
        log.add(ordinary(9))
        log.publish()
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        said = serve(reading, issued)
        await reading.once()
        facts = reading.memory.kept[said].facts
    assert facts["sct_count"] == facts["sct_valid"] == 2
    assert facts["certificate_location"] == "tls://192.0.2.1:443/"
    assert "sct_fault" not in facts
    assert "sct_unlogged" not in facts
    asked = "get-proof-by-hash" if "rfc6962" in logs[0].speaks else "tile/0/001"
    assert any(asked in path for path in logs[0].requests)


async def test_a_promise_that_was_not_kept_is_told_until_it_is(tmp_path: Path, logs: list[TestLog]) -> None:
    bare = make_certificate(issuer=CA, serial_number=4711)
    tbs = bare.certificate.tbs_certificate_bytes
    issued = carrying(bare, [promised(log, tbs, is_kept=log is logs[0]) for log in logs])
    for log in logs:
        log.publish()

    with serving(*logs):
        # As Trillian says that it has no such entry.
        reading = reading_of(tmp_path, logs)
        said = serve(reading, issued)
        logs[1].tamper = lambda path, query, answer: (
            type(answer)(404, b"") if path.endswith("get-proof-by-hash") else answer
        )
        await reading.once()
        assert reading.memory.kept[said].facts["sct_unlogged"] == "B b"
        assert "sct_fault" not in reading.memory.kept[said].facts


async def test_one_within_the_maximum_merge_delay_is_not_asked_for(
    tmp_path: Path, logs: list[TestLog]
) -> None:
    bare = make_certificate(issuer=CA, serial_number=4711)
    tbs = bare.certificate.tbs_certificate_bytes
    issued = carrying(bare, [promised(log, tbs, is_kept=False, at=BEGIN_MS) for log in logs])
    for log in logs:
        log.publish()
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        said = serve(reading, issued)
        await reading.once()
    assert "sct_unlogged" not in reading.memory.kept[said].facts


async def test_a_forged_one_and_too_few_are_told(tmp_path: Path, logs: list[TestLog]) -> None:
    bare = make_certificate(issuer=CA, serial_number=4711)
    tbs = bare.certificate.tbs_certificate_bytes
    good = promised(logs[0], tbs, is_kept=True)
    forged = bytearray(promised(logs[1], tbs, is_kept=True))
    forged[34] ^= 1  # its timestamp
    issued = carrying(bare, [good, bytes(forged)])
    for log in logs:
        log.publish()
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        said = serve(reading, issued)
        await reading.once()
        facts = reading.memory.kept[said].facts
        assert facts["sct_valid"] == 1
        fault = str(facts["sct_fault"])
        assert "the timestamp of B b (certificate) is not signed by it" in fault
        assert "2 are asked for" in fault
        # Without its issuer nothing can be verified, and nothing is claimed.
        said = serve(reading, issued, with_chain=False)
        await reading.once()
        facts = reading.memory.kept[said].facts
        assert facts["sct_unverified"] is True
        assert "sct_fault" not in facts


def listed(scts: Sequence[bytes]) -> str:
    packed = b"".join(len(each).to_bytes(2, "big") + each for each in scts)
    return base64.b64encode(len(packed).to_bytes(2, "big") + packed).decode()


def promised_beside(log: TestLog, certificate: bytes, *, is_kept: bool = True) -> bytes:
    """As `promised`, of one that is sent beside the certificate, which was logged as such."""
    extensions = leaf_index_extension(len(log.leaves)) if log.indexed else b""
    leaf = make_leaf(certificate, LONG_AGO, extensions=extensions)
    log.append(
        leaf if is_kept else make_leaf(ordinary(3), LONG_AGO, extensions=extensions), b"\0\0\0", b"\0\0"
    )
    body = b"\0" + log.key.log_id + LONG_AGO.to_bytes(8, "big")
    return body + len(extensions).to_bytes(2, "big") + extensions + log.sign(leaf)


@pytest.mark.parametrize("fact", ["tls_timestamps", "staple_timestamps"])
async def test_timestamps_that_are_sent_beside_the_certificate_count(
    tmp_path: Path, logs: list[TestLog], fact: str
) -> None:
    bare = make_certificate(issuer=CA, serial_number=4714)
    sent = [promised_beside(log, bare.der, is_kept=log is logs[0]) for log in logs]
    for log in logs:
        log.publish()
    logs[1].tamper = lambda path, query, answer: (
        type(answer)(404, b"") if path.endswith("get-proof-by-hash") else answer
    )
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        said = serve(reading, bare, facts={fact: listed(sent)})
        await reading.once()
        facts = dict(reading.memory.kept[said].facts)
        assert facts["sct_valid"] == 2
        assert facts["sct_from"] == ("TLS" if fact == "tls_timestamps" else "OCSP")
        assert "sct_fault" not in facts
        assert facts["sct_unlogged"] == "B b"
        # A sweep has not asked for them.
        serve(reading, bare, place="tls://192.0.2.0:443/", facts={"swept": "true"})
        await reading.once()
        assert "sct_fault" not in reading.memory.kept[said].facts
        # A sweep has not asked for them.
        serve(reading, bare, place="tls://192.0.2.0:443/", facts={"swept": "true"})
        await reading.once()
        assert "sct_fault" not in reading.memory.kept[said].facts
        # Another place has the same certificate and sends none.
        serve(reading, bare, place="tls://192.0.2.2:443/")
        await reading.once()
        assert "tls://192.0.2.2:443/ sends none" in str(reading.memory.kept[said].facts["sct_fault"])
        # Of another certificate they are no timestamps.
        other = make_certificate(issuer=CA, serial_number=4715)
        said = serve(reading, other, place="tls://192.0.2.3:443/", facts={fact: listed(sent)})
        await reading.once()
        assert "is not signed by it" in str(reading.memory.kept[said].facts["sct_fault"])
        said = serve(reading, other, place="tls://192.0.2.3:443/", facts={fact: "AAAA"})
        await reading.once()
        assert "cannot be read" in str(reading.memory.kept[said].facts["sct_fault"])


async def test_two_of_one_log_are_judged_each_for_itself(tmp_path: Path, logs: list[TestLog]) -> None:
    """The verdict on the first one was taken for that on the second."""
    bare = make_certificate(issuer=CA, serial_number=4716)
    good = promised(logs[0], bare.certificate.tbs_certificate_bytes, is_kept=True)
    forged = bytearray(good)
    forged[34] ^= 1
    for log in logs:
        log.publish()
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        said = serve(reading, carrying(bare, [good, bytes(forged)]))
        await reading.once()
    facts = reading.memory.kept[said].facts
    assert facts["sct_valid"] == 1
    assert "the timestamp of A a (certificate) is not signed by it" in str(facts["sct_fault"])


async def test_a_certificate_without_timestamps_or_with_odd_ones_stops_nothing(
    tmp_path: Path, logs: list[TestLog]
) -> None:
    for log in logs:
        log.publish()
    with serving(*logs):
        reading = reading_of(tmp_path, logs)
        private = serve(reading, make_certificate(issuer=CA, serial_number=4712))
        await reading.once()
        assert private not in reading.memory.kept
        odd = x509.UnrecognizedExtension(SCT_LIST, b"\4\3\0\7x")
        said = serve(reading, make_certificate(issuer=CA, serial_number=4713, extensions=[(odd, False)]))
        await reading.once()
        assert "cannot be read" in str(reading.memory.kept[said].facts["sct_fault"])
