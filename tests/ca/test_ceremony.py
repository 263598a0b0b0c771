import hashlib
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.ca import audit, checkpoint
from certwatch.ca.ceremony import Wish, hold, steps
from certwatch.ca.failure import CAError
from certwatch.ca.found import found_intermediate, install
from tests.support.cas import authority, issued


def csr_of(folder: Path) -> bytes:
    with authority(folder, empty=True) as ca:
        return found_intermediate(ca, "Issuing", by="ann").csr or b""


def test_a_ceremony_makes_all_that_leaves_and_a_transcript_that_the_ledger_vouches_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "offline").mkdir()
    csr = csr_of(tmp_path)
    wish = Wish(name="Example Root", csrs=(("issuing.csr", csr),), witnesses=("Ann", "Bob"), operator="carol")
    with authority(tmp_path / "offline", empty=True) as root:
        planned = steps(root, wish)
        assert planned[0].startswith("make the root Example Root: a key of kind ec-p384")
        assert "sign issuing.csr: CN=Issuing" in planned[1]
        assert root.ledger.size == 0
        told: list[str] = []
        held = hold(root, wish, told.append)
        files = dict(held.files)
        assert set(files) == {"root.pem", "issuing.pem", "root.crl", "transcript.txt"}
        assert "\n".join(told) + "\n" == held.transcript == files["transcript.txt"].decode()
        # What the transcript ends with is a checkpoint over its own hash.
        at = held.transcript.index("  Ledger\n")
        above, rest = held.transcript[: held.transcript.rindex("\n\n", 0, at)], held.transcript[at:]
        digest = hashlib.sha256((above + "\n").encode()).hexdigest()
        assert digest in rest
        [(entry,)] = root.rows("SELECT entry FROM ledger ORDER BY position DESC LIMIT 1")
        assert digest.encode() in entry
        note = rest[rest.index("certwatch-ca/") : rest.index("Signed, operator")].rstrip("\n") + "\n"
        public = root.ledger._key.public_key()
        assert checkpoint.verify(note, root.ledger.origin, public).size == root.ledger.size
        for name in ("root.pem", "issuing.pem", "root.crl"):
            assert f"{name}: sha256 {hashlib.sha256(files[name]).hexdigest()}" in held.transcript
        assert "Signed, witness Bob: ____" in held.transcript
        assert audit.verify(root.settings.directory).wrong == []
    with authority(tmp_path, empty=True) as ca:
        install(ca, "Issuing", files["issuing.pem"])
        above_leaf = ca.issuer().certificate
        issued(ca).certificate.verify_directly_issued_by(above_leaf)
        top = x509.load_pem_x509_certificate(files["root.pem"])
        above_leaf.verify_directly_issued_by(top)
        assert x509.load_der_x509_crl(files["root.crl"]).is_signature_valid(top.public_key())  # type: ignore[arg-type]


def test_a_later_ceremony_uses_the_root_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "offline").mkdir()
    csr = csr_of(tmp_path)
    with authority(tmp_path / "offline", empty=True) as root:
        hold(root, Wish(name="Example Root"), lambda line: None)
        first = root.issuer().certificate
        later = Wish(name="Example Root", csrs=(("i.csr", csr),))
        assert steps(root, later)[0] == "use the root Example Root, which is there already"
        held = hold(root, later, lambda line: None)
        assert root.issuer().certificate == first
        assert "number: 2" in held.transcript


@pytest.mark.parametrize("wrong", ["junk", "twice"])
def test_a_csr_that_would_be_refused_is_refused_before_the_key_is_made(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "offline").mkdir()
    csr = csr_of(tmp_path)
    csrs = (("i.csr", b"junk"),) if wrong == "junk" else (("i.csr", csr), ("i.csr", csr))
    with authority(tmp_path / "offline", empty=True) as root:
        with pytest.raises(CAError):
            hold(root, Wish(name="Example Root", csrs=csrs), lambda line: None)
        assert root.ledger.size == 0
        assert root.issuers() == []
