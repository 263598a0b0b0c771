import json
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509

from certwatch.plugins.testing import FakeClock
from tests.cli.stage import Ran, run

CLOCK = FakeClock()


def ca(folder: Path, *args: str | Path, **env: str) -> Ran:
    env.setdefault("CERTWATCH_CA_PASSPHRASE", "in a test")
    return run("ca", *args, "--directory", folder / "ca", clock=CLOCK, XDG_DATA_HOME=str(folder), **env)


def made(folder: Path) -> Path:
    ran = ca(
        folder,
        "init",
        "--name",
        "Root",
        "--root",
        "--key-file",
        folder / "root.key",
        "--out",
        folder / "root.pem",
    )
    assert ran.status == 0, ran.err
    assert "for trials" in ran.err
    return folder


def test_from_nothing_to_a_certificate_that_is_revoked(tmp_path: Path) -> None:
    made(tmp_path)
    out = tmp_path / "web.pem"
    ran = ca(tmp_path, "issue", "--name", "dns:www.example.com", "--profile", "server", "--out", out)
    assert ran.status == 0, ran.err
    certificate = x509.load_pem_x509_certificate(out.read_bytes())
    certificate.verify_directly_issued_by(
        x509.load_pem_x509_certificate((tmp_path / "root.pem").read_bytes())
    )
    assert (tmp_path / "web.key").stat().st_mode & 0o777 == 0o600
    [listed] = json.loads(ca(tmp_path, "list", "--json").out)["certificates"]
    assert (listed["state"], listed["names"]) == ("issued", ["dns:www.example.com"])
    ran = ca(tmp_path, "revoke", listed["serial"], "--reason", "key-compromise")
    assert ran.status == 0, ran.err
    assert ca(tmp_path, "crl", "--out", tmp_path / "ca.crl").status == 0
    crl = x509.load_der_x509_crl((tmp_path / "ca.crl").read_bytes())
    assert crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
    assert "revoked" in ca(tmp_path, "list").out
    ran = ca(tmp_path, "audit", "verify")
    assert (ran.status, ran.out.endswith("the ledger is whole\n")) == (0, True)


def test_a_csr_is_signed_or_refused_with_the_reason(tmp_path: Path) -> None:
    from certwatch.ca.key_file import generate
    from certwatch.ca.new_request import make_csr

    made(tmp_path)
    csr = tmp_path / "a.csr"
    csr.write_text(make_csr(generate("ec-p256"), ["dns:www.example.com"], None))
    ran = ca(tmp_path, "sign", csr, "--profile", "server")
    assert ran.status == 0, ran.err
    assert ran.out.startswith("-----BEGIN CERTIFICATE-----")
    ran = ca(tmp_path, "sign", csr, "--profile", "email")
    assert (ran.status, ran.out) == (3, "")
    assert "has no such name" in ran.err
    ran = ca(tmp_path, "sign", csr, "--profile", "servr")
    assert ran.status == 2


def test_what_needs_approval_waits_and_somebody_else_approves(tmp_path: Path) -> None:
    made(tmp_path)
    out = tmp_path / "build.pem"
    ran = ca(
        tmp_path,
        "issue",
        "--subject",
        "CN=Build",
        "--profile",
        "code-signing",
        "--requester",
        "alice",
        "--out",
        out,
    )
    assert ran.status == 1
    assert "certwatch ca approve 1" in ran.err
    assert not out.exists()
    assert "alice" in ca(tmp_path, "list", "--waiting").out
    assert "asked for it" in ca(tmp_path, "approve", "1").err
    ran = ca(tmp_path, "approve", "1", "--out", out, SUDO_USER="carol")
    assert ran.status == 0, ran.err
    assert b"BEGIN CERTIFICATE" in out.read_bytes()


def test_a_tampered_ledger_is_status_3_and_names_the_row(tmp_path: Path) -> None:
    import sqlite3

    made(tmp_path)
    connection = sqlite3.connect(tmp_path / "ca" / "ca.db")
    connection.execute("UPDATE ledger SET entry = x'7b7d' WHERE position = 0")
    connection.commit()
    connection.close()
    ran = ca(tmp_path, "audit", "verify")
    assert ran.status == 3
    assert "ledger entry 0: was changed" in ran.out
    assert json.loads(ca(tmp_path, "audit", "verify", "--json").out)["wrong"]


def test_without_a_passphrase_one_is_made_and_said(tmp_path: Path) -> None:
    ran = ca(tmp_path, "init", "--name", "R", "--key-file", tmp_path / "k", CERTWATCH_CA_PASSPHRASE="")
    assert ran.status == 0, ran.err
    assert "one was made" in ran.err
    assert (tmp_path / "ca" / "passphrase").stat().st_mode & 0o777 == 0o600


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert "there is no CA" in ca(tmp_path, "list").err
    ran = ca(tmp_path, "init", "--name", "R", "--root")
    assert ran.status == 2
    assert "--pkcs11" in ran.err
    made(tmp_path)
    ran = ca(
        tmp_path, "issue", "--name", "www.example.com", "--profile", "server", "--out", tmp_path / "x.pem"
    )
    assert ran.status == 3
    assert not (tmp_path / "x.key").exists()


def test_profiles_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "profiles.yaml").write_text(
        "internal: {usage: server, lifetime: 10d, names: [{dns: .corp.example}]}\n"
    )
    config = tmp_path / "certwatch.yaml"
    config.write_text(f"ca: {{directory: {tmp_path}/ca, profiles: {tmp_path}/profiles.yaml}}\n")

    def wanted(name: str) -> Ran:
        return run(
            "ca", "issue", "-c", config, "--name", name, "--profile", "internal", "--out", tmp_path / f"{name[4:]}.pem",
            clock=CLOCK, CERTWATCH_CA_PASSPHRASE="in a test",
        )  # fmt: skip

    assert wanted("dns:a.corp.example").status == 0
    assert "does not give this name" in wanted("dns:a.example.com").err
    (tmp_path / "profiles.yaml").write_text("internal: {usage: server, lifetme: 10d}\n")
    ran = wanted("dns:b.corp.example")
    assert ran.status == 2
    assert 'profiles.yaml:1: internal.lifetme: unknown key, did you mean "lifetime"?' in ran.err


def test_an_offline_root_is_founded_in_a_ceremony_and_an_intermediate_rotated(tmp_path: Path) -> None:
    online, offline = tmp_path / "online", tmp_path / "offline"
    online.mkdir()
    offline.mkdir()

    def init(name: str, *words: str | Path) -> Ran:
        return ca(online, "init", "--intermediate", "--name", name, *words)

    made_csr = init("Issuing", "--key-file", online / "i.key", "--out", online / "i.csr")
    assert made_csr.status == 0, made_csr.err

    def ceremony(csr: Path, out: Path) -> Ran:
        return ca(
            offline, "ceremony", "--name", "Root", "--csr", csr, "--witness", "Ann", "--yes",
            "--key-file", offline / "root.key", "--out", out,
        )  # fmt: skip

    held = ceremony(online / "i.csr", offline / "out")
    assert held.status == 0, held.err
    assert held.out == (offline / "out" / "transcript.txt").read_text()
    assert "a rehearsal, and no root to be trusted" in held.out
    again = ceremony(online / "i.csr", offline / "out")
    assert (again.status, "is not empty" in again.err) == (2, True)
    assert init("Issuing", "--certificate", offline / "out" / "i.pem").status == 0
    planned = ca(online, "rotate")
    assert planned.status == 0, planned.err
    assert "1. make Issuing 2: a key of kind ec-p256; write its CSR" in planned.out
    assert "nothing was done" in planned.err
    rotated = ca(online, "rotate", "--apply", "--key-file", online / "j.key", "--out", online / "j.csr")
    assert rotated.status == 0, rotated.err
    assert ceremony(online / "j.csr", offline / "out2").status == 0
    assert init("Issuing 2", "--certificate", offline / "out2" / "j.pem").status == 0
    assert (
        ca(
            online, "issue", "--name", "dns:a.example", "--profile", "server", "--out", online / "a.pem"
        ).status
        == 0
    )
    _leaf, above = x509.load_pem_x509_certificates((online / "a.pem").read_bytes())
    assert above.subject.rfc4514_string() == "CN=Issuing 2"
    crossed = ca(
        offline, "cross-sign", offline / "out" / "root.pem", "--profile", "server", "--out", offline / "x.pem"
    )
    assert crossed.status == 2
    assert "makes no CAs" in crossed.err


def test_who_sits_here_is_who_logged_in_whatever_sudo_says(tmp_path: Path) -> None:
    """In a process of its own: the kernel lets the record be set once."""
    script = """
import os, sys
try:
    open("/proc/self/loginuid", "w").write("1")
except OSError:
    sys.exit(77)
os.environ["SUDO_USER"] = "somebody-else"
from certwatch.cli.ca.opening import person
print(person())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    if done.returncode == 77:
        pytest.skip("the kernel's record of who logged in cannot be set here")
    assert done.stdout.strip() == pwd.getpwuid(1).pw_name, done.stderr
