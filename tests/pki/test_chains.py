"""What counts as leading to a trust anchor, and what only looks like it."""

from dataclasses import replace
from datetime import timedelta

from certwatch.model.certificate import Certificate
from certwatch.pki.chains import LONGEST, MOST_CANDIDATES, assess, by_store
from certwatch.pki.signatures import VERDICTS
from certwatch.pki.trust import TrustStore
from certwatch.plugins.testing import EPOCH, Issued, make_ca, make_certificate
from certwatch.x509.der import read
from tests.support.serving import INTERMEDIATE, ROOT, TRUST

INTERMEDIATE_NAME, ROOT_NAME = (read(each.der).subject for each in (INTERMEDIATE, ROOT))
ECDSA_WITH_SHA256 = bytes.fromhex("2a8648ce3d040302")
#: The same arc, an algorithm that nobody has defined.
UNKNOWN = bytes.fromhex("2a8648ce3d04037f")


def certificates(*each: Issued | bytes) -> tuple[Certificate, ...]:
    return tuple(read(one if isinstance(one, bytes) else one.der) for one in each)


def forged(certificate: Issued) -> bytes:
    """Its signature is made with what nobody can verify, so anyone can have made it."""
    der = bytearray(certificate.der.replace(ECDSA_WITH_SHA256, UNKNOWN))
    der[-5] ^= 1
    return bytes(der)


def test_a_chain_whose_links_verify_leads_to_its_root() -> None:
    leaf = make_certificate(issuer=INTERMEDIATE)
    found = assess(certificates(leaf, INTERMEDIATE), TRUST, EPOCH, "server")
    assert found.anchored == {"corp": 1}
    assert (found.broken, found.unverified, found.in_order) == (None, None, True)


def test_a_signature_that_nobody_can_verify_leads_to_no_anchor() -> None:
    chain = certificates(forged(make_certificate(issuer=ROOT)))
    found = assess(chain, TRUST, EPOCH, "server")
    assert found.anchored == {}
    assert found.unverified == (chain[0], read(ROOT.der))


def test_nor_does_it_when_the_real_root_is_presented_with_it() -> None:
    chain = certificates(forged(make_certificate(issuer=ROOT)), ROOT)
    found = assess(chain, TRUST, EPOCH, "server")
    assert found.anchored == {}
    assert found.unverified == chain


def test_nor_by_what_stands_above_a_link_that_cannot_be_verified() -> None:
    chain = certificates(make_certificate(issuer=INTERMEDIATE), forged(INTERMEDIATE), ROOT)
    found = assess(chain, TRUST, EPOCH, "server")
    assert found.anchored == {}
    assert found.unverified == chain[1:]


def test_a_good_issuer_is_preferred_to_one_that_cannot_be_verified() -> None:
    chain = certificates(make_certificate(issuer=INTERMEDIATE), forged(INTERMEDIATE), INTERMEDIATE)
    found = assess(chain, TRUST, EPOCH, "server")
    assert (found.anchored, found.unverified) == ({"corp": 1}, None)


def test_a_leaf_issues_nothing_although_it_signs() -> None:
    leaf = make_certificate(issuer=INTERMEDIATE, names=("dns:legit.example",), key_number=50)
    evil = make_certificate(issuer=leaf, names=("dns:www.example.com",), key_number=51)
    found = assess(certificates(evil, leaf, INTERMEDIATE), TRUST, EPOCH, "server")
    assert found.anchored == {}
    assert len(found.path) == 1


def test_an_anchor_of_version_1_may_issue_without_saying_that_it_may() -> None:
    plain = make_certificate(names=(), subject="Old Root", key_number=60)
    leaf = make_certificate(issuer=plain)
    store = TrustStore.from_certificates("old", certificates(plain))
    assert assess(certificates(leaf, plain), {"old": store}, EPOCH, "server").anchored == {"old": 0}


def test_two_cas_of_one_name_are_told_apart_by_their_signatures() -> None:
    other = make_ca("Test Intermediate", issuer=ROOT, key_number=102)
    leaf = make_certificate(issuer=INTERMEDIATE)
    found = assess(certificates(leaf, other, INTERMEDIATE), TRUST, EPOCH, "server")
    assert [each.fingerprint_sha256 for each in found.path[1:]] == [read(INTERMEDIATE.der).fingerprint_sha256]
    assert found.broken is None


def test_what_one_store_accepts_and_another_does_not_is_told_apart() -> None:
    other = TrustStore.from_certificates("public", [read(make_ca("Public Root", key_number=55).der)])
    trust = {"public": other, **TRUST}
    chain = certificates(make_certificate(issuer=INTERMEDIATE), INTERMEDIATE)
    assert assess(chain, trust, EPOCH, "server").accepted_by == ("corp",)
    said = by_store(chain, trust, EPOCH, "server")
    assert [each.subject for each in said["corp"].path] == [chain[0].subject, INTERMEDIATE_NAME, ROOT_NAME]
    refused = said["public"].fault
    assert refused is not None
    assert (refused.kind, refused.certificate) == ("issuer-missing", chain[1])


def test_a_store_whose_signatures_are_good_and_that_refuses_accepts_nothing() -> None:
    chain = certificates(make_certificate(issuer=ROOT, not_after=EPOCH - timedelta(days=1)))
    found = assess(chain, TRUST, EPOCH, "server")
    assert (list(found.anchored), found.accepted_by) == (["corp"], ())


def test_a_hundred_cas_that_issue_one_another_cost_no_more_than_a_few_signatures_each() -> None:
    """A server presents two names, each with thirty keys, and says nowhere by which of them: each step had all of one name tried."""
    ladder: list[Issued] = [make_ca("A", key_number=200)]
    for number in range(1, 60):
        ladder.append(make_ca("AB"[number % 2], issuer=ladder[-1], key_number=200 + number))
    leaf = make_certificate(issuer=ladder[-1])
    silent = tuple(replace(each, authority_key_id=None) for each in certificates(leaf, *ladder))
    for chain in (silent, (silent[0], *reversed(silent[1:]))):
        VERDICTS.clear()
        found = assess(chain, TRUST, EPOCH, "server")
        assert len(VERDICTS) <= LONGEST * MOST_CANDIDATES
        assert found.anchored == {}
        assert len(found.path) <= LONGEST


def test_the_issuer_whose_key_is_named_is_found_among_many_of_its_name() -> None:
    """Fifty renewals of one CA are presented; the certificate says by which key it was signed."""
    issuers = [make_ca("Renewed", issuer=ROOT, key_number=300 + number) for number in range(50)]
    leaf = make_certificate(issuer=issuers[-1])
    found = assess(certificates(leaf, *issuers), TRUST, EPOCH, "server")
    assert found.path[1] == read(issuers[-1].der)
