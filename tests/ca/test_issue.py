import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from certwatch.ca import audit, certificate, delegate
from certwatch.ca.approvals import Waiting, submit
from certwatch.ca.authority import Authority
from certwatch.ca.crl import current, revoke
from certwatch.ca.failure import CAError
from certwatch.ca.found import found_intermediate, found_root, install
from certwatch.ca.issue import Certified, issue
from certwatch.ca.key_file import FileSigner, generate
from certwatch.plugins.testing import EPOCH, FakeClock
from tests.support.cas import SECRETS, URL, authority, issued, order, settings


def whole(ca: Authority) -> None:
    assert audit.verify(ca.settings.directory).wrong == []


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    return certificate.extensions.get_extension_for_class(kind).value


def test_a_certificate_is_what_its_profile_says(tmp_path: Path) -> None:
    with authority(tmp_path, url=URL, intermediate=True) as ca:
        made = issued(ca, "dns:www.example.com", "ip:10.0.0.1")
        certificate = made.certificate
        issuer = ca.issuer("Test Issuing").certificate
        certificate.verify_directly_issued_by(issuer)
        assert certificate.subject.rfc4514_string() == "CN=www.example.com"
        assert certificate.not_valid_before_utc == EPOCH - timedelta(hours=1)
        assert certificate.not_valid_after_utc == EPOCH + timedelta(days=90) - timedelta(seconds=1)
        assert list(extension(certificate, x509.ExtendedKeyUsage)) == [ExtendedKeyUsageOID.SERVER_AUTH]
        assert extension(certificate, x509.BasicConstraints).ca is False
        access = {
            each.access_method: each.access_location.value
            for each in extension(certificate, x509.AuthorityInformationAccess)
        }
        # Nobody would answer there.
        assert AuthorityInformationAccessOID.OCSP not in access
        [point] = extension(certificate, x509.CRLDistributionPoints)
        assert point.full_name[0].value == f"{URL}/crl/2/0.crl"
        assert made.chain.count(b"BEGIN CERTIFICATE") == 2
        whole(ca)


@pytest.mark.parametrize("key_type", ["ml-dsa-44", "ml-dsa-65", "ml-dsa-87"])
def test_a_whole_chain_may_be_of_ml_dsa(tmp_path: Path, key_type: Any) -> None:
    server = {"server": {"key_types": [key_type]}}
    with authority(
        tmp_path, key_type=key_type, profiles=server, lint=True, has_responder=True, url=URL
    ) as ca:
        found_intermediate(ca, "Issuing", by="ann", key_type=key_type)
        leaf = issued(ca, key=generate(key_type)).certificate
        issuer, root = ca.issuer().certificate, ca.issuer("Test Root").certificate
        leaf.verify_directly_issued_by(issuer)
        issuer.verify_directly_issued_by(root)
        revoke(ca, f"{leaf.serial_number:x}", "superseded", "alice")
        crl = x509.load_der_x509_crl(current(ca, ca.issuer(), 0))
        assert crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        assert len(crl) == 1
        assert 2 in delegate.renew(ca, ca.clock())
        with pytest.raises(CAError, match="takes ml-dsa"):
            issued(ca)
        whole(ca)
    # Read from its file again.
    with authority(tmp_path, profiles=server) as ca:
        issued(ca, key=generate(key_type))


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "ed25519", "rsa-2048"])
def test_issuers_may_have_any_kind_of_key(tmp_path: Path, key_type: str) -> None:
    with authority(tmp_path, key_type=key_type) as ca:
        issued(ca).certificate.verify_directly_issued_by(ca.issuer().certificate)


def test_serial_numbers_are_long_and_never_the_same(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        answers = issue(ca, [(order(ca, f"dns:h{n}.example.com"), None) for n in range(40)])
        serials = {each.certificate.serial_number for each in answers if isinstance(each, Certified)}
        assert len(serials) == 40
        # 128 random bits: were one of them fixed, it would be the same in all of forty.
        together, ever = -1, 0
        for each in serials:
            together, ever = together & each, ever | each
        assert together & (1 << 128) - 1 == 0
        assert ever == (1 << 128) - 1
        whole(ca)


@pytest.mark.parametrize(
    ("profile", "names", "subject"),
    [
        ("client", ("email:ann@example.com",), "CN=ceo@example.com"),
        ("client", (), "CN=admin"),
        ("email", ("email:ann@example.com",), "CN=The Chief"),
    ],
)
def test_over_the_network_a_common_name_is_one_of_the_names(
    tmp_path: Path, profile: str, names: tuple[str, ...], subject: str
) -> None:
    """Who goes by the subject alone would take it for a name that was allowed."""
    rule = {"names": [{"email": "@example.com", "uri": "spiffe://example.com"}]}
    with authority(tmp_path, profiles={profile: rule}) as ca:
        wish = {"profile": profile, "subject": subject}
        with pytest.raises(CAError, match="common name"):
            issued(ca, *names, channel="http", **wish) if names else issue_nothing(ca, **wish)
    with authority(tmp_path, profiles={profile: rule | {"approvals": 1}}) as ca:
        # People see it, then.
        assert isinstance(submit(ca, order(ca, *names, channel="http", **wish)), Waiting)


def issue_nothing(ca: Authority, **wish: Any) -> None:
    [answer] = issue(ca, [(order(ca, channel="http", **wish), None)])
    if isinstance(answer, CAError):
        raise answer


def test_one_that_is_refused_stops_no_other(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        good, bad, last = issue(
            ca,
            [
                (order(ca, "dns:a.example.com"), None),
                (order(ca, "email:a@example.com"), None),
                (order(ca, "dns:b.example.com"), None),
            ],
        )
        assert isinstance(good, Certified)
        assert isinstance(bad, CAError)
        assert isinstance(last, Certified)
        whole(ca)


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"lifetime": timedelta(days=500)}, "at most"),
        ({"lifetime": timedelta(minutes=1)}, "five minutes"),
        ({"subject": "CN=other.example.com"}, "not among the names"),
        ({"subject": "CN=www.example.com,O=Example"}, "has O"),
        ({"issuer": "Nobody"}, "no issuer is called"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_reason(tmp_path: Path, wish: Any, says: str) -> None:
    with authority(tmp_path) as ca:
        with pytest.raises(CAError, match=says):
            issued(ca, **wish)
        assert ca.rows("SELECT count(*) FROM certificates") == [(0,)]
        [(entry,)] = ca.rows("SELECT entry FROM ledger ORDER BY position DESC LIMIT 1")
        assert b'"kind":"refusal"' in entry
        whole(ca)


def test_no_certificate_outlives_its_issuer(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        end = ca.issuer().certificate.not_valid_after_utc
        clock.now = end - timedelta(days=10)
        assert issued(ca).certificate.not_valid_after_utc == end
        with pytest.raises(CAError, match="issuer's own certificate ends"):
            issued(ca, lifetime=timedelta(days=30))


def test_an_intermediate_may_not_make_another_below_its_path_length(tmp_path: Path) -> None:
    with authority(tmp_path, intermediate=True) as ca, pytest.raises(CAError, match="path length"):
        sub = order(ca, profile="intermediate", subject="CN=Sub", issuer="Test Issuing")
        answer = issue(ca, [(sub, None)])[0]
        assert isinstance(answer, CAError)
        raise answer


def test_a_clock_that_went_back_signs_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        clock.advance(hours=-1)
        with pytest.raises(CAError) as raised:
            issued(ca)
        assert raised.value.kind == "clock"
        clock.advance(hours=1)
        issued(ca)
        whole(ca)


def test_a_step_back_of_a_second_is_ordinary(tmp_path: Path) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        clock.advance(seconds=-1)
        issued(ca)
        whole(ca)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        with pytest.raises(CAError) as raised:
            Authority(settings(tmp_path), SECRETS, FakeClock())
        assert raised.value.kind == "locked"
        issued(ca)


def test_two_threads_take_turns(tmp_path: Path) -> None:
    with authority(tmp_path) as ca:
        orders = [order(ca, f"dns:h{n}.example.com") for n in range(20)]
        threads = [threading.Thread(target=issue, args=(ca, [(each, None)])) for each in orders]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert ca.rows("SELECT count(*) FROM certificates WHERE state = 'issued'") == [(20,)]
        whole(ca)


def test_a_lying_key_gets_nothing_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with authority(tmp_path) as ca:
        # The far side of the door: what a broken token would answer.
        monkeypatch.setattr(FileSigner, "sign", lambda self, mechanism, data: bytes(10))
        with pytest.raises(CAError) as raised:
            issued(ca)
        assert raised.value.kind == "token"
        assert ca.rows("SELECT state, der FROM certificates") == [("failed", None)]
        whole(ca)


@pytest.mark.parametrize("at", ["drafted", "intended", "signed", "recorded"])
def test_a_crash_at_any_step_leaves_no_unrecorded_certificate(tmp_path: Path, at: str) -> None:
    class Crash(BaseException):
        pass

    def step(name: str) -> None:
        if name == at:
            raise Crash

    with authority(tmp_path, empty=True) as ca:
        found_root(ca, "Test Root")
    with authority(tmp_path, step=step) as ca, pytest.raises(Crash):
        issued(ca)
    with authority(tmp_path) as ca:
        rows = ca.rows("SELECT state, der IS NOT NULL, revoked IS NOT NULL FROM certificates")
        assert (
            rows
            == {
                "drafted": [],
                "intended": [("lost", 0, 1)],
                "signed": [("lost", 0, 1)],
                "recorded": [("issued", 1, 0)],
            }[at]
        )
        whole(ca)


def test_a_root_elsewhere_signs_the_intermediates_csr(tmp_path: Path) -> None:
    from certwatch.ca.acts import perform

    (tmp_path / "offline").mkdir()
    with authority(tmp_path, empty=True) as ca, authority(tmp_path / "offline") as root:
        made = found_intermediate(ca, "Issuing", by="operator")
        assert made.certificate is None
        assert made.csr is not None
        with pytest.raises(CAError) as raised:
            issued(ca)
        assert raised.value.kind == "not-found"
        answer = perform(
            root,
            "sign",
            {"csr": made.csr.decode(), "profile": "intermediate", "requester": "o", "submitter": "o"},
        )
        stranger = issued(root).chain
        with pytest.raises(CAError, match="no CA's"):
            install(ca, "Issuing", stranger)
        install(ca, "Issuing", answer["chain"].encode())
        leaf = issued(ca)
        leaf.certificate.verify_directly_issued_by(ca.issuer().certificate)
        ca.issuer().certificate.verify_directly_issued_by(root.issuer().certificate)
        whole(ca)
        whole(root)


def test_names_of_issuers_are_used_once(tmp_path: Path) -> None:
    with authority(tmp_path) as ca, pytest.raises(CAError, match="is called"):
        found_root(ca, "Test Root")


def test_every_profile_passes_the_lint(tmp_path: Path) -> None:
    wishes: list[tuple[str, tuple[str, ...], str | None]] = [
        ("server", ("dns:www.example.com", "ip:10.0.0.1"), None),
        ("client", ("email:a@example.com",), None),
        ("mtls", ("uri:spiffe://example.com/a", "dns:a.example.com"), None),
        ("code-signing", (), "CN=Build,O=Example"),
        ("email", ("email:a@example.com",), "CN=A"),
        ("intermediate", (), "CN=Sub CA"),
    ]
    with authority(tmp_path, url=URL, lint=True) as ca:
        for profile, names, subject in wishes:
            answer = issue(ca, [(order(ca, *names, profile=profile, subject=subject), None)])[0]
            assert isinstance(answer, Certified), (profile, answer)
        [(entry,)] = ca.rows("SELECT entry FROM ledger WHERE position = 3")
        assert b'"lint":"passed"' in entry
        whole(ca)


def test_a_serial_number_is_never_given_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where the system's random numbers repeat themselves, as in a machine that was cloned."""
    with authority(tmp_path) as ca:
        monkeypatch.setattr(certificate, "new_serial", lambda: 1 << 127 | 7)
        first = issued(ca)
        with pytest.raises(CAError, match="the database refused"):
            issued(ca)
        monkeypatch.undo()
        assert issued(ca).serial != first.serial
        assert ca.rows("SELECT count(*) FROM certificates WHERE state = 'issued'") == [(2,)]
        whole(ca)


def test_a_clock_that_jumped_forward_and_was_set_right_signs_nothing_until_it_gets_there(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock) as ca:
        clock.advance(hours=5)
        issued(ca)
        clock.advance(hours=-5)
        for act in (
            lambda: issued(ca),
            lambda: revoke(ca, "1", "superseded", "a"),
            lambda: current(ca, ca.issuer(), 0),
        ):
            with pytest.raises(CAError):
                act()
        assert ca.rows("SELECT count(*) FROM crls") == [(0,)]
        clock.advance(hours=5)
        issued(ca)
        whole(ca)
