"""Who signed what, remembered."""

from certwatch.pki.signatures import Verdicts, signature
from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509.der import read

ROOT = read(make_ca().der)
OTHER = read(make_ca(key_number=9).der)
LEAVES = [read(make_certificate(issuer=make_ca(), serial_number=100 + number).der) for number in range(6)]


def test_the_key_that_signed_is_told_from_one_of_the_same_name() -> None:
    assert ROOT.subject_der == OTHER.subject_der
    for _ in range(2):  # also when it is remembered
        assert (signature(LEAVES[0], ROOT), signature(LEAVES[0], OTHER)) == ("good", "bad")


def test_no_more_verdicts_are_kept_than_was_said_and_all_are_right() -> None:
    verdicts = Verdicts(4)
    for _ in range(3):
        for leaf in LEAVES:
            assert (verdicts.of(leaf, ROOT), verdicts.of(leaf, OTHER)) == ("good", "bad")
            assert len(verdicts) <= 4
