"""The daemon hears of changed files between its scans."""

from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.daemon import certwatch

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]


def test_a_renewed_certificate_is_known_before_the_next_scan(tmp_path: Path) -> None:
    site = tmp_path / "files" / "site.pem"
    site.parent.mkdir()
    first, second = make_certificate(serial_number=1), make_certificate(serial_number=2)
    site.write_bytes(first.pem)
    collectors = f"\n  - {{name: files, kind: file, every: 30d, paths: ['{site.parent}']}}\n"

    def serials() -> set[str]:
        return {labels["serial_number"] for labels, _ in daemon.series("certwatch_certificate_info")}

    with certwatch(tmp_path, collectors) as daemon:
        daemon.wait(lambda: serials() == {"01"}, "the first scan")

        def renewed() -> bool:
            # Written until it is heard: the watch begins a moment after the scan.
            site.write_bytes(second.pem)
            return serials() == {"02"}

        daemon.wait(renewed, "the renewed certificate")
        site.unlink()
        daemon.wait(lambda: serials() == set(), "its end")
