from datetime import timedelta
from pathlib import Path

from certwatch.plugins.testing import EPOCH, make_certificate
from certwatch.web.status import read_status
from tests.support.inventories import opened


def test_what_lies_in_a_file_is_among_what_expires_next_and_what_is_only_written_down_is_not(
    tmp_path: Path,
) -> None:
    leaves = [
        make_certificate(
            names=[f"dns:{name}.example.com"], not_after=EPOCH + timedelta(days=days), key_number=days
        )
        for name, days in (("served", 30), ("stored", 20), ("logged", 10))
    ]
    served, stored, logged = leaves
    with opened("sqlite", tmp_path) as it:
        it.record(
            it.look("tls://192.0.2.1:443/", served),
            it.look("file:///etc/ssl/site.pem", stored),
            it.look("ct://log/1", logged),
        )
        status = read_status(it.reader, it.clock())
    assert [each.certificate.der for each in status.expiries] == [stored.der, served.der]
