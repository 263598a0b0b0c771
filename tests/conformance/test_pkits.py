"""NIST's PKITS: every path of it, with its CRLs and policies, against our verdict.

Its certificates and CRLs come with the package `cryptography-vectors`; `pkits.txt` says what is to come out.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.model.certificate import Certificate
from certwatch.pki.policies import ANY, PolicyDemand
from certwatch.pki.trust import TrustStore
from certwatch.pki.verdict import Question, judge
from certwatch.x509.der import read

#: Test to the reason why we come to another result.
DEVIATIONS = {
    "4.1.4": "DSA: the library verifies no DSA signature of a CRL any more, so revocation stays unknown",
    "4.1.5": "DSA with inherited parameters: OpenSSL has given it up",
}
NOW = datetime(2020, 1, 1, tzinfo=UTC)
POLICY = "2.16.840.1.101.3.2.1.48."


@dataclass(frozen=True)
class Case:
    test: str
    end_entity: str
    valid: bool
    policies: PolicyDemand

    @property
    def section(self) -> str:
        return self.test.rpartition(".")[0]


def cases() -> Iterator[Case]:
    for line in Path(__file__).with_name("pkits.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        test, end_entity, result, *inputs = line.split()
        wanted = next((each.partition("=")[2] for each in inputs if each.startswith("policies=")), "")
        demand = PolicyDemand(
            acceptable=frozenset(POLICY + each for each in wanted.split(",")) if wanted else frozenset({ANY}),
            explicit="explicit" in inputs,
            inhibit_mapping="no-mapping" in inputs,
            inhibit_any="no-any" in inputs,
        )
        yield Case(test, end_entity, result == "valid", demand)


CASES = list(cases())


@cache
def folder() -> Path:
    found = find_spec("cryptography_vectors")
    if found is None or found.origin is None:
        pytest.skip("PKITS is not at hand: install cryptography-vectors")
    return Path(found.origin).parent / "x509" / "PKITS_data"


@cache
def certificate(name: str) -> Certificate:
    return read((folder() / "certs" / f"{name}.crt").read_bytes())


@cache
def everything() -> tuple[list[Certificate], list[x509.CertificateRevocationList], TrustStore]:
    """All CA certificates as what was presented, all CRLs: finding those that fit is a part of it."""
    root = certificate("TrustAnchorRootCertificate")
    names = sorted(each.stem for each in (folder() / "certs").glob("*.crt"))
    cas = [certificate(each) for each in names if not each.endswith("EE")]
    crls = [x509.load_der_x509_crl(each.read_bytes()) for each in sorted((folder() / "crls").glob("*.crl"))]
    return cas, crls, TrustStore.from_certificates("pkits", [root])


def outcome(case: Case) -> str:
    """Empty: accepted."""
    cas, crls, trust = everything()
    question = Question(purpose="any", crls=crls, policies=case.policies)
    found = judge(certificate(case.end_entity), cas, trust, NOW, question)
    return "" if found.fault is None else f"{found.fault.kind}: {found.fault.text}"


@pytest.mark.parametrize("case", CASES, ids=[f"{each.test}-{index}" for index, each in enumerate(CASES)])
def test_each_path_has_the_result_that_nist_says(case: Case) -> None:
    found = outcome(case)
    as_expected = (not found) == case.valid
    assert as_expected == (case.test not in DEVIATIONS), f"{case.end_entity}: {found or 'accepted'}"


def test_the_figures_by_section(capsys: pytest.CaptureFixture[str]) -> None:
    passed = Counter(each.section for each in CASES if (not outcome(each)) == each.valid)
    whole = Counter(each.section for each in CASES)
    with capsys.disabled():
        print(f"\nPKITS: {passed.total()} of {whole.total()}; by section: ", end="")
        print(", ".join(f"{each} {passed[each]}/{whole[each]}" for each in whole))
    assert whole.total() == 246
    assert {each for each in whole if passed[each] != whole[each]} == {"4.1"}
