"""CRLs and OCSP answers through the linter's process."""

import sys

import pytest

from collectors.revocation import profiles
from collectors.revocation.profiles import Profiles
from tests.collectors.test_revocation import crl, leaf, ocsp_answer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
AKI = "pkix.authority_key_identifier_missing"


async def test_each_content_is_linted_once_and_hostile_ones_end_nothing() -> None:
    it, good = Profiles(), crl(4711)
    try:
        for junk in (b"", b"\x30\x80", b"\x30" * 5000, crl(5)[:-3], b"\xff" * 100):
            assert await it.codes("crl", junk) == ""
            assert await it.codes("ocsp", junk) == ""
        assert await it.codes("crl", b"\0" * (profiles.MAX_BYTES + 1)) == ""
        assert await it.codes("crl", good) == AKI
        assert await it.codes("ocsp", ocsp_answer(leaf(80, by_ocsp=True))) == ""
        process = it._process
        assert process is not None
        await it.scan_ended()
        assert process.returncode is not None
        assert await it.codes("crl", good) == AKI
        assert it._process is None
    finally:
        await it.end()


async def test_a_linter_that_does_not_start_is_tried_again_with_the_next_scan(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = Profiles()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        assert await it.codes("crl", crl(4711)) == ""
        assert await it.codes("crl", crl(4711)) == ""
        assert it._broken
    await it.scan_ended()
    try:
        assert await it.codes("crl", crl(4711)) == AKI
    finally:
        await it.end()
