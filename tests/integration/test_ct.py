"""From a log over HTTP to a finding, its proof, and its end: the whole program."""

import json
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.plugins.testing import make_ca, make_certificate
from certwatch.x509 import der
from tests.cli.stage import run
from tests.support.crtsh import crtsh
from tests.support.ct_log import TestLog, log_list, serving

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ssl").mkdir()
    return tmp_path


def write_config(folder: Path, log: TestLog, *, static: bool) -> Path:
    entry = log.list_entry(static=static)
    (folder / "list.json").write_bytes(
        log_list(*([] if static else [entry]), tiled=[entry] if static else [])
    )
    path = folder / "certwatch.yaml"
    path.write_text(
        f"""
inventory: sqlite:///{folder}/inventory.db
collectors:
  - {{name: files, kind: file, paths: ["{folder}/ssl/*.pem"]}}
  - {{name: logs, kind: ct, domains: [".example.com"], log_list: "{folder}/list.json", start: beginning, contact: a@example.com, poll: 50ms}}
rules: {{ct-unexpected: {{grace: 0s}}}}
"""
    )
    return path


@pytest.mark.parametrize("static", [False, True], ids=["rfc6962", "static"])
def test_a_certificate_nobody_knows_is_found_proven_and_authorised(folder: Path, static: bool) -> None:
    ca = make_ca("Somebody's CA", key_number=141)
    stranger = make_certificate(issuer=ca, names=["dns:www.example.com"], key_number=8)
    known = make_certificate(issuer=ca, names=["dns:known.example.com"], key_number=9)
    (folder / "ssl/known.pem").write_bytes(known.pem)
    log = TestLog(indexed=static)
    log.speaks = {"static" if static else "rfc6962"}
    ca_der = ca.der
    log.issuers[der.fingerprint(ca_der)] = ca_der
    for number in range(300):
        log.add(
            make_certificate(names=["dns:unrelated.net"], serial_number=5000).der
            if number == 0
            else log_filler(number)
        )
    # The precertificate and the certificate: one issuance, two entries.
    log.add(stranger.der, precertificate=True, chain=[ca_der])
    log.add(stranger.der, chain=[ca_der])
    log.add(known.der, precertificate=True, chain=[ca_der])
    log.publish()
    with serving(log):
        config = write_config(folder, log, static=static)
        ran = run("collect", "-c", config)
        assert ran.status in (0, 1), ran.err
        found = json.loads(run("findings", "--rule", "ct-unexpected", "--json", "-c", config).out)["findings"]
        assert len(found) == 1
        location = found[0]["location"]
        assert location.endswith("/300")
        assert found[0]["severity"] == "page"
        status = run("ct", "status", "-c", config)
        assert status.status == 0, status.out
        assert "303" in status.out
    # The log is gone: what proves it is kept.
    out = folder / "evidence"
    ran = run("ct", "evidence", location, "-o", str(out), "-c", config)
    assert ran.status == 0, ran.err
    proven = run("ct", "prove", str(out))
    assert proven.status == 0, proven.err
    assert "entry 300 is in that tree" in proven.out
    kept = x509.load_pem_x509_certificate((out / "certificate.pem").read_bytes())
    assert kept.serial_number == stranger.certificate.serial_number
    pack = out / "evidence.json"
    said = json.loads(pack.read_text())
    said["index"] = 299
    pack.write_text(json.dumps(said))
    forged = run("ct", "prove", str(pack))
    assert forged.status == 1
    assert "does not prove" in forged.err
    (folder / "stranger.pem").write_bytes(stranger.pem)
    ran = run("ct", "authorize", str(folder / "stranger.pem"), "--why", "campaign", "-c", config)
    assert ran.status == 0, ran.err
    run("collect", "files", "-c", config)
    assert (
        json.loads(run("findings", "--rule", "ct-unexpected", "--json", "-c", config).out)["findings"] == []
    )


def log_filler(number: int) -> bytes:
    from tests.collectors.ct_stage import ordinary

    return ordinary(number)


def test_what_crt_sh_knows_of_the_past_is_judged_as_what_logs_show(folder: Path) -> None:
    ca = make_ca("Somebody's CA", key_number=141)
    stranger = make_certificate(issuer=ca, names=["dns:www.example.com"], key_number=8)
    known = make_certificate(issuer=ca, names=["dns:known.example.com"], key_number=9)
    (folder / "ssl/known.pem").write_bytes(known.pem)
    config = folder / "certwatch.yaml"
    with crtsh() as site:
        site.certificates = {7: stranger.der, 8: known.der}
        config.write_text(
            f"""
inventory: sqlite:///{folder}/inventory.db
collectors:
  - {{name: files, kind: file, paths: ["{folder}/ssl/*.pem"]}}
  - {{name: past, kind: ct-search, domains: [".example.com"], url: "{site.url}", requests: 100}}
rules: {{ct-unexpected: {{grace: 0s}}}}
"""
        )
        for _ in range(2):
            ran = run("collect", "-c", config)
            assert ran.status in (0, 1), ran.err
    found = json.loads(run("findings", "--rule", "ct-unexpected", "--json", "-c", config).out)["findings"]
    assert [each["location"].rpartition("/")[2] for each in found] == ["7"]


@pytest.mark.timeout(120)
def test_what_the_embedded_ca_has_in_its_books_is_expected_and_what_its_key_signed_past_them_is_not(
    folder: Path,
) -> None:
    """Its books are read as docs/ca.md has it."""
    from cryptography.hazmat.primitives.serialization import Encoding

    from certwatch.ca.key_file import generate
    from certwatch.plugins.testing import EPOCH, FakeClock
    from tests.integration.test_ca_unrecorded import query
    from tests.support.cas import authority, issued

    with authority(folder, FakeClock(EPOCH)) as ca:
        honest = issued(ca, "dns:honest.example.com", key=generate("ec-p256"))
        above = ca.issuer().certificate.public_bytes(Encoding.DER)
        (folder / "root.pem").write_bytes(ca.issuer().certificate.public_bytes(Encoding.PEM))
    (listed, *_) = x509.load_pem_x509_certificates(honest.chain)
    log = TestLog()
    log.speaks = {"rfc6962"}
    log.add(listed.public_bytes(Encoding.DER), chain=[above])
    log.add(listed.public_bytes(Encoding.DER), precertificate=True, chain=[above])
    rogue = make_certificate(issuer=make_ca(key_number=141), names=["dns:rogue.example.com"])
    log.add(rogue.der, chain=[above])
    log.publish()
    with serving(log):
        config = write_config(folder, log, static=False)
        books = (
            f"  - {{name: own-ca, kind: ca-database, every: 1h, preset: sql, url: 'sqlite:///{folder}/ca/ca.db',"
            f" authorities: ['{folder}/root.pem'], query: {json.dumps(query())}}}\n"
        )
        config.write_text(config.read_text().replace("rules:", f"{books}rules:"))
        ran = run("collect", "-c", config)
        assert ran.status in (0, 1), ran.err
    found = json.loads(run("findings", "--rule", "ct-unexpected", "--json", "-c", config).out)["findings"]
    assert [each["location"].rpartition("/")[2] for each in found] == ["2"]
