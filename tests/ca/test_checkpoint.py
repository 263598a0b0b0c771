import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.checkpoint import Checkpoint, sign, verifier_key, verify
from certwatch.ca.failure import CAError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
GOOD = Checkpoint(origin="certwatch-ca/test", size=41, root=bytes(32))


def test_what_was_signed_verifies() -> None:
    assert verify(sign(GOOD, KEY), GOOD.origin, KEY.public_key()) == GOOD


def test_the_note_has_the_form_of_c2sp() -> None:
    lines = sign(GOOD, KEY).split("\n")
    assert lines[:4] == ["certwatch-ca/test", "41", base64.b64encode(bytes(32)).decode(), ""]
    assert lines[4].startswith("— certwatch-ca/test ")
    assert lines[5:] == [""]
    name, hash, packed = verifier_key(GOOD.origin, KEY.public_key()).split("+", 2)
    assert name == GOOD.origin
    assert base64.b64decode(lines[4].rpartition(" ")[2])[:4].hex() == hash
    assert base64.b64decode(packed) == b"\x01" + KEY.public_key().public_bytes_raw()


def test_a_witness_may_add_its_signature() -> None:
    note = sign(GOOD, KEY) + "— witness.example.com AAAAAAAA\n"
    assert verify(note, GOOD.origin, KEY.public_key()) == GOOD


@given(st.integers(0, 400), st.characters(codec="utf-8"))
def test_any_other_note_is_refused(at: int, letter: str) -> None:
    note = sign(GOOD, KEY)
    at %= len(note)
    changed = note[:at] + letter + note[at + 1 :]
    if changed == note:
        return
    with pytest.raises(CAError) as raised:
        verify(changed, GOOD.origin, KEY.public_key())
    assert raised.value.kind == "ledger"


@given(st.text(max_size=300))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(CAError):
        verify(text, GOOD.origin, KEY.public_key())
