"""The linter finds what is known to be wrong, by the right profile, and takes whatever it is given."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certwatch.pki.lint import FORMAT, MOST, lint, linter
from certwatch.plugins.testing import EPOCH, make_ca, make_certificate

ROOT = make_ca()
GOOD = make_certificate(issuer=ROOT)


def codes(der: bytes, profile: str) -> set[str]:
    return {each.code for each in lint(der) if each.profile == profile and each.severity == "error"}


def test_a_certificate_of_a_private_ca_may_be_fine_by_the_format_and_not_by_the_baseline() -> None:
    assert codes(GOOD.der, "rfc5280") == set()
    assert "cabf.serverauth.subscriber.extended_key_usage_extension_absent" in codes(GOOD.der, "cabf-tls")


def test_without_a_subject_the_alternative_names_must_be_critical() -> None:
    nameless = make_certificate(issuer=ROOT, subject="")
    assert any("subject_alternative_name" in each or "san" in each for each in codes(nameless.der, "rfc5280"))


def test_a_certificate_that_lasts_for_years_breaks_the_baseline_alone() -> None:
    years = make_certificate(issuer=ROOT, not_after=EPOCH + timedelta(days=2000))
    found = codes(years.der, "cabf-tls") - codes(GOOD.der, "cabf-tls")
    assert any("validity" in each for each in found), found
    assert codes(years.der, "rfc5280") == set()


@pytest.mark.parametrize("data", [b"", b"\x30\x03\x02\x01\x01", b"\x30\x84\xff\xff\xff\xff"])
def test_what_is_no_certificate_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        lint(data)


def test_only_the_profiles_that_are_asked_for_are_held_against_it() -> None:
    assert {each.profile for each in lint(GOOD.der)} == {"cabf-tls"}
    assert lint(GOOD.der, FORMAT) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(GOOD.der) - 1), st.integers(0, 255))
def test_a_damaged_certificate_is_linted_or_refused_and_never_more(at: int, byte: int) -> None:
    damaged = bytearray(GOOD.der)
    damaged[at] = byte
    try:
        assert len(lint(bytes(damaged))) <= MOST
    except Exception as error:
        assert not isinstance(error, MemoryError | RecursionError), error


def test_it_says_who_it_is() -> None:
    assert linter().startswith("pkilint 0.")


def test_wildcards_and_single_labels_are_names_and_what_only_looks_like_one_is_not() -> None:
    code = "pkix.invalid_domain_name_syntax"
    assert code not in codes(make_certificate(issuer=ROOT, names=["dns:*.example.com"]).der, "rfc5280")
    assert code not in codes(make_certificate(issuer=ROOT, names=["dns:localhost"]).der, "rfc5280")
    assert code in codes(make_certificate(issuer=ROOT, names=["dns:a*.example.com"]).der, "rfc5280")
    assert code in codes(make_certificate(issuer=ROOT, names=["dns:*.*.example.com"]).der, "rfc5280")
    assert code in codes(make_certificate(issuer=ROOT, names=["dns:-a.example.com"]).der, "rfc5280")
