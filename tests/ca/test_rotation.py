from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certwatch.ca import audit, rotation
from certwatch.ca.crl import refresh, revoke
from certwatch.ca.failure import CAError
from certwatch.ca.found import found_intermediate, install
from certwatch.plugins.testing import EPOCH, FakeClock
from tests.support.cas import asked, authority, issued


def test_a_plan_says_what_would_happen_and_does_nothing(tmp_path: Path) -> None:
    with authority(tmp_path, intermediate=True) as ca:
        issued(ca, lifetime=timedelta(days=10))
        last = issued(ca, lifetime=timedelta(days=20))
        revoke(ca, issued(ca, lifetime=timedelta(days=30)).serial, "superseded", "alice")
        before = ca.ledger.size
        planned = rotation.plan(ca)
        assert (planned.former.name, planned.successor, planned.root) == (
            "Test Issuing",
            "Test Issuing 2",
            "Test Root",
        )
        assert planned.dependents.count == 2
        assert planned.dependents.until == last.certificate.not_valid_after_utc
        assert ca.ledger.size == before


def test_the_successor_issues_and_the_former_one_is_retired_when_nothing_depends_on_it(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    with authority(tmp_path, clock, intermediate=True) as ca:
        old = issued(ca, lifetime=timedelta(days=10))
        rotation.rotate(ca, rotation.plan(ca), by="ann")
        new = issued(ca)
        assert (old.issuer.name, new.issuer.name) == ("Test Issuing", "Test Issuing 2")
        new.certificate.verify_directly_issued_by(ca.issuer("Test Issuing 2").certificate)
        assert new.chain.count(b"BEGIN") == 2
        assert rotation.retire(ca) == []
        clock.now = EPOCH + timedelta(days=10)
        assert rotation.retire(ca) == ["Test Issuing"]
        assert rotation.retire(ca) == []
        with pytest.raises(CAError, match="no issuer is called"):
            issued(ca, issuer="Test Issuing")
        # What it made is still answered for.
        refresh(ca)
        former = ca.issuer("Test Issuing", retired=True)
        assert ca.rows("SELECT count(*) FROM crls WHERE issuer = ?", former.id) == [(1,)]
        assert audit.verify(ca.settings.directory).wrong == []


def test_it_is_rotated_once_and_then_its_successor_is(tmp_path: Path) -> None:
    with authority(tmp_path, intermediate=True) as ca:
        rotation.rotate(ca, rotation.plan(ca), by="ann")
        with pytest.raises(CAError, match="is rotated already, by Test Issuing 2, which issues"):
            rotation.plan(ca, "Test Issuing")
        assert rotation.plan(ca).successor == "Test Issuing 3"
        with pytest.raises(CAError, match="is a root"):
            rotation.plan(ca, "Test Root")


def test_the_former_one_issues_until_the_successor_has_its_certificate_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    with authority(tmp_path, empty=True) as ca, authority(tmp_path / "offline") as root:

        def signed(csr: bytes | None) -> bytes:
            answer = asked(
                root, "sign", csr=(csr or b"").decode(), profile="intermediate", requester="o", submitter="o"
            )
            return str(answer["chain"]).encode()

        install(ca, "Issuing", signed(found_intermediate(ca, "Issuing", by="ann").csr))
        made = rotation.rotate(ca, rotation.plan(ca), by="ann")
        assert made.certificate is None
        assert issued(ca).issuer.name == "Issuing"
        # Nothing depends on it by now, and it is all that there is.
        revoke(ca, ca.rows("SELECT hex(serial) FROM certificates")[0][0], "superseded", "ann")
        assert rotation.retire(ca) == []
        install(ca, "Issuing 2", signed(made.csr))
        assert issued(ca).issuer.name == "Issuing 2"
        assert rotation.retire(ca) == ["Issuing"]


def test_each_environment_has_its_own_intermediates(tmp_path: Path) -> None:
    profiles = {
        "live": {"usage": "server", "environment": "production"},
        "trial": {"usage": "server", "environment": "staging"},
    }
    with authority(tmp_path, profiles=profiles) as ca:
        with pytest.raises(CAError, match="no intermediate for production"):
            issued(ca, profile="live")
        found_intermediate(ca, "Production", by="ann", environment="production")
        found_intermediate(ca, "Staging", by="ann", environment="staging")
        assert issued(ca, profile="live").issuer.name == "Production"
        assert issued(ca, profile="trial").issuer.name == "Staging"
        # Whoever names none must not be given the newest one by chance.
        with pytest.raises(CAError, match=r"without an environment \(known: production, staging\)"):
            issued(ca)
        assert issued(ca, issuer="Staging").issuer.name == "Staging"
        rotation.rotate(ca, rotation.plan(ca, "Production"), by="ann")
        assert issued(ca, profile="live").issuer.name == "Production 2"
        assert issued(ca, profile="trial").issuer.name == "Staging"
        found_intermediate(ca, "Others", by="ann")
        assert issued(ca).issuer.name == "Others"


def test_another_ca_is_cross_signed_by_its_own_certificate(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with authority(tmp_path) as ca, authority(tmp_path / "b", empty=True) as other:
        from certwatch.ca.found import found_root

        found_root(other, "Other Root")
        found_intermediate(other, "Other Issuing", by="ann")
        theirs = other.issuer("Other Root").certificate
        answer = asked(ca, "cross-sign", certificate=theirs.public_bytes(Encoding.PEM).decode(), person="ann")
        from cryptography import x509
        from cryptography.x509 import verification

        cross = x509.load_pem_x509_certificate(answer["certificate"].encode())
        assert cross.subject.public_bytes() == theirs.subject.public_bytes()
        leaf = issued(other)
        # Who trusts our root alone finds the way.
        store = verification.Store([ca.issuer().certificate])
        verifier = (
            verification.PolicyBuilder()
            .store(store)
            .time(EPOCH)
            .build_server_verifier(x509.DNSName("www.example.com"))
        )
        above = other.issuer("Other Issuing").certificate
        chain = verifier.verify(leaf.certificate, [above, cross])
        assert chain[-1] == ca.issuer().certificate
        with pytest.raises(CAError, match="the certificate itself ends"):
            asked(
                ca,
                "cross-sign",
                certificate=theirs.public_bytes(Encoding.PEM).decode(),
                person="ann",
                lifetime_seconds=86400 * 3651,
            )


@pytest.mark.parametrize(
    ("given", "says"),
    [("leaf", "self-signed"), ("junk", "self-signed"), ("own", "same name"), ("large", "larger than")],
)
def test_what_is_no_root_is_not_cross_signed(tmp_path: Path, given: str, says: str) -> None:
    with authority(tmp_path) as ca:
        pem = {
            "leaf": issued(ca).chain.decode(),
            "junk": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "own": ca.issuer().certificate.public_bytes(Encoding.PEM).decode(),
            "large": "x" * 70_000,
        }[given]
        before = ca.ledger.size
        with pytest.raises(CAError, match=says):
            asked(ca, "cross-sign", certificate=pem, person="ann")
        assert ca.ledger.size == before
