import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import audit, crl_entries
from certwatch.ca.authority import Authority
from certwatch.ca.crl import Scope, build, current, partitions, refresh, revoke
from certwatch.ca.crl_entries import REASONS, Entries
from certwatch.ca.failure import CAError
from certwatch.ca.key_file import FileSigner
from certwatch.ca.signer import hash_for, rehearsal_key
from certwatch.plugins.testing import EPOCH, FakeClock
from tests.support.cas import URL, authority, issued


def read(der: bytes) -> x509.CertificateRevocationList:
    return x509.load_der_x509_crl(der)


def number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_a_revocation_is_on_the_list_when_it_returns(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, url=URL) as ca:
        issuer = ca.issuer()
        made, other = issued(ca), issued(ca)
        before = read(current(ca, issuer, 0))
        clock.advance(minutes=1)
        revoke(ca, made.serial, "key-compromise", "alice")
        after = read(current(ca, issuer, 0))
        assert before.get_revoked_certificate_by_serial_number(made.certificate.serial_number) is None
        entry = after.get_revoked_certificate_by_serial_number(made.certificate.serial_number)
        assert entry is not None
        assert entry.revocation_date_utc == EPOCH + timedelta(minutes=1)
        assert (
            entry.extensions.get_extension_for_class(x509.CRLReason).value.reason == REASONS["key-compromise"]
        )
        assert after.get_revoked_certificate_by_serial_number(other.certificate.serial_number) is None
        assert number(after) == number(before) + 1
        assert after.is_signature_valid(issuer.certificate.public_key())  # type: ignore[arg-type]
        point = after.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        assert point.value.full_name is not None
        assert point.value.full_name[0].value == f"{URL}/crl/1/0.crl"
        assert audit.verify(ca.settings.directory).wrong == []


def test_a_list_is_made_anew_when_its_time_has_come_and_not_before(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        first = current(ca, ca.issuer(), 0)
        clock.advance(hours=23)
        assert current(ca, ca.issuer(), 0) == first
        assert refresh(ca) == 0
        clock.advance(hours=1)
        assert refresh(ca) == 1
        assert number(read(current(ca, ca.issuer(), 0))) == 2


def test_what_has_ended_leaves_the_list_after_a_while(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        revoke(ca, issued(ca, lifetime=timedelta(days=2)).serial, "superseded", "alice")
        clock.advance(days=3)
        assert len(read(current(ca, ca.issuer(), 0))) == 1
        clock.advance(days=30)
        assert len(read(current(ca, ca.issuer(), 0))) == 0


def test_partitions_hold_each_their_own(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL, partitions=4) as ca:
        made = [issued(ca) for _ in range(12)]
        for each in made:
            revoke(ca, each.serial, "superseded", "alice")
        issuer = ca.issuer()
        assert partitions(ca, issuer) == [0, 1, 2, 3]
        for each in made:
            [point] = each.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
            assert point.full_name is not None
            shard = int(point.full_name[0].value.rpartition("/")[2].removesuffix(".crl"))
            found = [
                one
                for one in range(4)
                if read(current(ca, issuer, one)).get_revoked_certificate_by_serial_number(
                    each.certificate.serial_number
                )
            ]
            assert found == [shard]


@pytest.mark.parametrize(
    ("serial", "reason", "kind"),
    [("00" * 16, "superseded", "not-found"), ("zz", "superseded", "usage"), ("00", "because", "usage")],
)
def test_what_cannot_be_revoked_is_said(tmp_path: Path, serial: str, reason: str, kind: str) -> None:
    with authority(tmp_path) as ca:
        with pytest.raises(CAError) as raised:
            revoke(ca, serial, reason, "alice")
        assert raised.value.kind == kind


def test_twice_is_refused_and_the_first_counts(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        made = issued(ca)
        revoke(ca, made.serial, "superseded", "alice")
        with pytest.raises(CAError, match="revoked already"):
            revoke(
                ca,
                ":".join([made.serial[at : at + 2] for at in range(0, 32, 2)]).upper(),
                "unspecified",
                "bob",
            )


def test_a_token_that_is_away_delays_the_list_and_never_the_revocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority(tmp_path) as ca:
        made = issued(ca)
        with monkeypatch.context() as away:

            def gone(self: FileSigner, mechanism: object, data: bytes) -> bytes:
                raise CAError("token", "it is gone")

            away.setattr(FileSigner, "sign", gone)
            with pytest.raises(CAError):
                revoke(ca, made.serial, "superseded", "alice")
        assert len(read(current(ca, ca.issuer(), 0))) == 1
        assert audit.verify(ca.settings.directory).wrong == []


def made_of(ca: Authority, *rows: tuple[bytes, int, str]) -> tuple[x509.CertificateRevocationList, bytes]:
    issuer, entries = ca.issuer(), Entries()
    entries.add(rows)
    return build(
        Scope(issuer=issuer, partition=0, point=f"{URL}/0.crl", delta=None),
        entries,
        number=7,
        this_update=EPOCH,
        next_update=EPOCH + timedelta(days=1),
        sign=lambda sign: ca.signing(issuer, "crl", sign),
    )


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_entries_are_written_as_the_library_writes_them(tmp_path: Path, key_type: str) -> None:
    """Byte for byte, and so are lists of any kind of key: serial numbers of every first bit and length, every reason, times of
    both centuries."""
    serials = [b"\1", b"\x7f", b"\x80", b"\0\x80", bytes(15) + b"\xff", b"\xff" * 16, b"\x7f" * 20]
    times = [0, 1_750_000_000_123_456, 2_524_607_999_999_999, 2_524_608_000_000_000, 4_000_000_000_000_000]
    rows = [
        (serial, times[number % len(times)], reason)
        for number, (serial, reason) in enumerate(
            (serial, reason) for serial in serials for reason in REASONS
        )
    ]
    with authority(tmp_path, key_type=key_type) as ca:
        made, der = made_of(ca, *rows)
        issuer = ca.issuer().certificate
        assert made.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        assert made.public_bytes(Encoding.DER) == der
        builder = x509.CertificateRevocationListBuilder(issuer.subject, EPOCH.replace(tzinfo=None), (EPOCH + timedelta(days=1)).replace(tzinfo=None))  # fmt: skip
        for serial, at, reason in rows:
            entry = x509.RevokedCertificateBuilder(
                int.from_bytes(serial, "big"),
                datetime.fromtimestamp(at // 1_000_000, UTC).replace(tzinfo=None),
            )
            if reason != "unspecified":
                entry = entry.add_extension(x509.CRLReason(REASONS[reason]), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        for extension in made.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        public = issuer.public_key()
        library = builder.sign(rehearsal_key(public), hash_for(public))  # type: ignore[arg-type]
        assert library.tbs_certlist_bytes == made.tbs_certlist_bytes


def test_a_list_without_entries_has_no_place_for_them(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        made, _ = made_of(ca)
        assert len(made) == 0
        assert made.is_signature_valid(ca.issuer().certificate.public_key())  # type: ignore[arg-type]


def test_a_list_that_cannot_be_read_is_never_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with authority(tmp_path) as ca:
        # As if a slip in its writing had made it another one.
        monkeypatch.setattr(crl_entries, "_reason", lambda reason: b"\x30\x80")
        with pytest.raises(CAError, match="cannot be read"):
            made_of(ca, (b"\1", 0, "superseded"), (b"\2", 0, "superseded"))


def delta(ca: Authority, partition: int = 0) -> x509.CertificateRevocationList:
    [(der,)] = ca.rows("SELECT der FROM delta_crls WHERE issuer = ? AND shard = ?", ca.issuer().id, partition)
    return read(der)


def test_a_delta_holds_what_was_revoked_since_its_base(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, url=URL, crl_delta=True) as ca:
        first, second, third = issued(ca), issued(ca), issued(ca)
        revoke(ca, first.serial, "superseded", "alice")
        clock.advance(days=1)
        base = read(current(ca, ca.issuer(), 0))
        [at] = base.extensions.get_extension_for_class(x509.FreshestCRL).value
        assert at.full_name is not None
        assert at.full_name[0].value == f"{URL}/crl/1/0-delta.crl"
        assert len(delta(ca)) == 0
        for each in (second, third):
            clock.advance(minutes=1)
            revoke(ca, each.serial, "key-compromise", "alice")
        changed = delta(ca)
        indicator = changed.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
        assert indicator.critical
        assert indicator.value.crl_number == number(base)
        assert {each.serial_number for each in changed} == {
            second.certificate.serial_number,
            third.certificate.serial_number,
        }
        complete = read(current(ca, ca.issuer(), 0))
        assert number(changed) == number(complete)
        assert len(complete) == 3
        scope = [
            each.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
            for each in (complete, changed)
        ]
        assert scope[0] == scope[1]
        assert changed.is_signature_valid(ca.issuer().certificate.public_key())  # type: ignore[arg-type]


def test_a_list_that_has_many_certificates_is_followed_by_another(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL, most_in_partition=3) as ca:
        made = [issued(ca, f"dns:h{n}.example.com") for n in range(7)]
        points = [
            each.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0]
            for each in made
        ]
        assert [str(each.full_name[0].value)[-5:] for each in points if each.full_name] == [
            "0.crl", "0.crl", "0.crl", "1.crl", "1.crl", "1.crl", "2.crl",
        ]  # fmt: skip
        assert partitions(ca, ca.issuer()) == [0, 1, 2]
        revoke(ca, made[4].serial, "superseded", "alice")
        assert [len(read(current(ca, ca.issuer(), each))) for each in range(3)] == [0, 1, 0]


def test_a_revocation_that_no_list_has_yet_makes_the_next_round_make_one(tmp_path: Path) -> None:
    """It was recorded, and then the process was killed before the list was signed."""
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        made = issued(ca)
        refresh(ca)
        clock.advance(minutes=5)
        ca.crl_due = lambda issuer, partition: None
        revoke(ca, made.serial, "superseded", "alice")
    with authority(tmp_path, clock) as ca:
        assert refresh(ca) == 1
        assert len(read(current(ca, ca.issuer(), 0))) == 1
        clock.advance(minutes=5)
        assert refresh(ca) == 0


def test_certificates_are_issued_while_a_list_is_made(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        signing, inside, go_on = ca.signing, threading.Event(), threading.Event()

        def slow(issuer: Any, purpose: str, sign: Any) -> Any:
            if purpose == "crl":
                inside.set()
                assert go_on.wait(10)
            return signing(issuer, purpose, sign)

        ca.signing = slow  # type: ignore[method-assign]
        thread = threading.Thread(target=lambda: refresh(ca))
        thread.start()
        assert inside.wait(10)
        made = issued(ca)
        go_on.set()
        thread.join(10)
        revoke(ca, made.serial, "superseded", "alice")
        assert len(read(current(ca, ca.issuer(), 0))) == 1
        assert audit.verify(ca.settings.directory).wrong == []


def test_an_issuer_that_has_ended_makes_no_more_lists(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        refresh(ca)
        clock.advance(days=3651)
        assert refresh(ca) == 0
