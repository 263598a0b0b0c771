"""Certificates in values under keys."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509 import keyed
from certwatch.x509.keyed import entries, value_of

CA = make_ca("Keyed CA", issuer=make_ca("Keyed Root", key_number=550), key_number=551)
LEAF = make_certificate(issuer=CA, key_number=552)
OTHER = make_certificate(names=["dns:other.example"], issuer=CA, key_number=553)
PIECES = [
    LEAF.pem.decode(),
    LEAF.chain_pem.decode(),
    CA.pem.decode(),
    OTHER.key_pem.decode(),
    LEAF.key_pem.decode(),
    base64.b64encode(LEAF.der).decode(),
    base64.b64encode(LEAF.der[:200]).decode(),
    "-----BEGIN CERTIFICATE-----",
    "MI" * 60,
    "\ud800",
]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def every(key: str) -> bool:
    return True


@given(st.dictionaries(st.sampled_from(["tls.crt", "tls.key", "a", "ca", "\ud800"]), VALUES, max_size=5))
def test_any_secret_is_borne(held: dict[str, Any]) -> None:
    for entry in entries(held, every, above=["ca"]):
        assert entry.key in held
        assert entry.chain or entry.damaged
        assert entry.private_key is None or entry.private_key in held
        assert entry.key not in entry.above


def test_a_key_that_fits_is_taken_before_one_that_is_only_called_so() -> None:
    held = {
        "cert": LEAF.pem.decode(),
        "key": OTHER.key_pem.decode(),
        "mine": LEAF.key_pem.decode(),
    }
    [entry] = entries(held, every)
    assert (entry.private_key, entry.verdict) == ("mine", "match")
    del held["mine"]
    [entry] = entries(held, every)
    assert (entry.private_key, entry.verdict) == ("key", "mismatch")


def test_a_chain_of_another_key_belongs_to_the_leaf_it_has_issued() -> None:
    held = {"cert": LEAF.pem.decode(), "whatever": CA.pem.decode()}
    [entry] = entries(held, every)
    assert (entry.chain, entry.above) == ((LEAF.der, CA.der), ("whatever",))
    stranger = {"cert": make_certificate(key_number=554).pem.decode(), "ca": CA.pem.decode()}
    assert {each.key for each in entries(stranger, every)} == {"cert", "ca"}


def test_nothing_secret_is_in_what_is_shown_of_a_value() -> None:
    value = value_of(LEAF.key_pem.decode())
    assert value is not None
    assert "PRIVATE" not in repr(value)


@pytest.mark.parametrize("text", ["", "MI", "x" * 100, "MI" + "!" * 100, "MII" + "A" * (keyed.MAX_VALUE + 1)])
def test_what_cannot_hold_a_certificate_is_passed_over(text: str) -> None:
    assert value_of(text) is None or not entries({"tls.crt": text}, every)


def test_what_is_too_much_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "MAX_KEYS", 3)
    assert len(entries({f"{n}.crt": LEAF.pem.decode() for n in range(9)}, every)) == 3
    monkeypatch.setattr(keyed, "MAX_CERTIFICATES", 2)
    [entry] = entries({"all": LEAF.pem.decode() * 5}, every)
    assert len(entry.chain) == 2
