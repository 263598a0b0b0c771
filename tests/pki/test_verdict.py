"""The path that holds, or the reason and the certificate at fault."""

import time
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.model.certificate import Certificate
from certwatch.pki.trust import TrustStore
from certwatch.pki.verdict import Question, Verdict, judge
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE, ROOT

LEAF = make_certificate(issuer=INTERMEDIATE)
YEAR = timedelta(days=365)
PLAIN = Question()


def certificates(*each: Issued) -> list[Certificate]:
    return [read(one.der) for one in each]


def store(*anchors: Issued) -> TrustStore:
    return TrustStore.from_certificates("test", certificates(*anchors))


def verdict(
    *chain: Issued, trust: TrustStore | None = None, now: datetime = EPOCH, question: Question = PLAIN
) -> Verdict:
    leaf, *others = certificates(*chain)
    return judge(leaf, others, trust or store(ROOT), now, question)


def reason(*chain: Issued, **fields: object) -> tuple[str, str]:
    found = verdict(*chain, **fields)  # type: ignore[arg-type]
    assert found.fault is not None
    at = found.fault.certificate
    return found.fault.kind, at.subject if at is not None else ""


def test_an_accepted_chain_has_its_whole_path() -> None:
    found = verdict(LEAF, INTERMEDIATE)
    assert found.accepted
    assert [each.subject for each in found.path] == [
        "CN=www.example.com",
        "CN=Test Intermediate",
        "CN=Test Root",
    ]


@pytest.mark.parametrize(
    ("chain", "kind", "at"),
    [
        ((LEAF,), "issuer-missing", "CN=www.example.com"),
        ((make_certificate(),), "self-signed", "CN=www.example.com"),
        (
            (make_certificate(issuer=make_ca("Else", key_number=7)), make_ca("Else", key_number=7)),
            "untrusted-root",
            "CN=Else",
        ),
        (
            (make_certificate(issuer=INTERMEDIATE, not_after=EPOCH - timedelta(days=1)), INTERMEDIATE),
            "expired",
            "CN=www.example.com",
        ),
        (
            (make_certificate(issuer=INTERMEDIATE, not_before=EPOCH + timedelta(days=1)), INTERMEDIATE),
            "not-yet-valid",
            "CN=www.example.com",
        ),
        (
            (
                make_certificate(
                    issuer=INTERMEDIATE,
                    extensions=[(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)],
                ),
                INTERMEDIATE,
            ),
            "purpose",
            "CN=www.example.com",
        ),
        (
            (
                make_certificate(
                    issuer=INTERMEDIATE,
                    extensions=[
                        (
                            x509.UnrecognizedExtension(
                                x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\0"
                            ),
                            True,
                        )
                    ],
                ),
                INTERMEDIATE,
            ),
            "critical-extension",
            "CN=www.example.com",
        ),
    ],
)
def test_a_refused_chain_has_its_reason_and_the_certificate_at_fault(
    chain: tuple[Issued, ...], kind: str, at: str
) -> None:
    assert reason(*chain) == (kind, at)


def test_a_name_outside_of_what_its_ca_may_issue() -> None:
    only = x509.NameConstraints([x509.DNSName("corp.example")], None)
    ca = make_ca("Limited", issuer=ROOT, key_number=8, extensions=[(only, True)])
    good = make_certificate(issuer=ca, names=("dns:a.corp.example",))
    bad = make_certificate(issuer=ca, names=("dns:www.example.com",))
    assert verdict(good, ca).accepted
    assert reason(bad, ca)[0] == "name-constraint"


def test_more_cas_than_the_path_length_allows() -> None:
    first = make_ca("First", issuer=ROOT, key_number=8, path_length=0)
    second = make_ca("Second", issuer=first, key_number=9)
    assert reason(make_certificate(issuer=second), second, first)[0] == "path-length"


def test_an_expired_cross_sign_beside_a_good_one_is_no_matter() -> None:
    """As in May 2020 and September 2021: the old way is presented first, and another one holds."""
    old_root = make_ca("Old Root", key_number=20, not_before=EPOCH - 10 * YEAR, not_after=EPOCH - YEAR)
    crossed = make_ca(
        "Test Root",
        issuer=old_root,
        key_number=100,
        not_before=EPOCH - 2 * YEAR,
        not_after=EPOCH - timedelta(days=1),
    )
    assert verdict(LEAF, INTERMEDIATE, crossed, trust=store(ROOT, old_root)).accepted
    assert verdict(LEAF, INTERMEDIATE, crossed, old_root, trust=store(old_root, ROOT)).accepted


def test_of_two_cas_of_one_name_and_key_the_one_that_holds_is_found() -> None:
    expired = make_ca("Test Intermediate", issuer=ROOT, key_number=101, not_after=EPOCH - timedelta(days=1))
    for chain in ((LEAF, expired, INTERMEDIATE), (LEAF, INTERMEDIATE, expired)):
        assert verdict(*chain).accepted


def test_an_intermediate_alone_may_be_the_anchor() -> None:
    found = verdict(LEAF, trust=store(INTERMEDIATE))
    assert found.accepted
    assert len(found.path) == 2


def test_the_same_trust_store_is_asked_at_one_instant_after_another() -> None:
    """OpenSSL's store keeps the first time that it is given: the second question was answered for the first's."""
    trust = store(ROOT)
    for days, accepted in ((0, True), (61, False), (1, True), (-31, False)):
        found = verdict(LEAF, INTERMEDIATE, trust=trust, now=EPOCH + timedelta(days=days))
        assert found.accepted is accepted


def test_what_one_leaf_proves_of_its_issuers_is_no_proof_for_another_leaf() -> None:
    """The second leaf of an issuer has a shorter way; it leads to the same verdicts."""
    trust = store(ROOT)
    wanted: list[tuple[Issued, str | None]] = [
        (LEAF, None),
        (make_certificate(issuer=INTERMEDIATE, key_number=5), None),
        (make_certificate(issuer=make_ca("Test Intermediate", key_number=9)), "issuer-missing"),
        (make_certificate(issuer=INTERMEDIATE, not_after=EPOCH - timedelta(days=1)), "expired"),
        (make_certificate(issuer=ROOT), None),
        (make_certificate(), "self-signed"),
        (LEAF, None),
    ]
    for leaf, kind in wanted:
        found = verdict(leaf, INTERMEDIATE, trust=trust)
        assert (found.fault and found.fault.kind) == kind


def test_the_host_is_held_against_the_names() -> None:
    assert verdict(LEAF, INTERMEDIATE, question=Question(host="www.example.com")).accepted
    assert reason(LEAF, INTERMEDIATE, question=Question(host="example.net"))[0] == "name"


def revoking(issuer: Issued, *serials: int) -> x509.CertificateRevocationList:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(EPOCH - timedelta(hours=1))
        .next_update(EPOCH + timedelta(days=1))
        .add_extension(x509.CRLNumber(1), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(EPOCH)
        entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256())


def test_revocation_is_judged_for_every_certificate_below_the_anchor() -> None:
    none = [revoking(ROOT), revoking(INTERMEDIATE)]
    leaf = [revoking(ROOT), revoking(INTERMEDIATE, LEAF.certificate.serial_number)]
    ca = [revoking(ROOT, INTERMEDIATE.certificate.serial_number), revoking(INTERMEDIATE)]
    assert verdict(LEAF, INTERMEDIATE, question=Question(crls=none)).accepted
    for crls, kind, at in (
        (leaf, "revoked", "CN=www.example.com"),
        (ca, "revoked", "CN=Test Intermediate"),
        (none[:1], "revocation-unknown", "CN=www.example.com"),
        (
            [none[0], revoking(make_ca("Test Intermediate", key_number=77))],
            "revocation-unknown",
            "CN=www.example.com",
        ),
    ):
        assert reason(LEAF, INTERMEDIATE, question=Question(crls=crls)) == (kind, at)


def test_a_strict_reader_objects_to_what_clients_accept() -> None:
    plain = verdict(LEAF, INTERMEDIATE, question=Question(profile=True, host="www.example.com"))
    assert plain.accepted
    assert any("no extended key usage" in each for each in plain.objections)


def test_a_hundred_cas_of_one_name_that_sign_one_another_cost_no_second() -> None:
    """A hostile server's: each could have issued each."""
    loop = [make_ca("Loop", key_number=200)]
    loop += [
        make_ca("Loop", issuer=loop[0], key_number=201 + n % 12, serial_number=n + 1) for n in range(100)
    ]
    leaf = make_certificate(issuer=loop[5])
    # This thread's own work, whatever else the machine does; without a bound it would be hours.
    started = time.thread_time()
    assert not verdict(leaf, *loop[1:]).accepted
    assert not verdict(leaf, *loop[1:], trust=store(make_ca("Loop", key_number=300))).accepted
    assert time.thread_time() - started < 5


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 700), st.integers(0, 255)), max_size=3),
    st.booleans(),
)
def test_damaged_certificates_are_refused_and_break_nothing(
    damages: list[tuple[int, int, int]], profile: bool
) -> None:
    ders = [bytearray(each.der) for each in (LEAF, INTERMEDIATE, ROOT)]
    for which, at, value in damages:
        ders[which][at % len(ders[which])] = value
    leaf, *others = [read(bytes(each)) for each in ders]
    crls = [revoking(ROOT), revoking(INTERMEDIATE)]
    found = judge(
        leaf, others, store(ROOT), EPOCH, Question(profile=profile, crls=crls, host="www.example.com")
    )
    assert found.accepted or found.fault is not None
