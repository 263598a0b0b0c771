"""Keys in a real SoftHSM token; what is made of them held against openssl and GnuTLS."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from certwatch.ca import audit
from certwatch.ca.crl import current, revoke
from certwatch.ca.failure import CAError
from certwatch.ca.issue import Certified, issue
from certwatch.ca.key_file import generate
from certwatch.ca.keys import KeyRing, Secrets
from certwatch.ca.token import module_of
from certwatch.model.clock import system_clock
from tests.support.cas import SOFTHSM, authority, issued, order, softhsm
from tests.support.openssl import openssl
from tests.support.servers import program

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> str:
    return softhsm(tmp_path_factory.mktemp("softhsm"))


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048", "ed25519"])
def test_openssl_and_gnutls_accept_what_the_token_signed(tmp_path: Path, token: str, key_type: str) -> None:
    # By the real time: certtool judges by no other.
    with authority(tmp_path, system_clock, key_place=token, key_type=key_type, intermediate=True) as ca:
        leaf = issued(ca)
        (tmp_path / "leaf.pem").write_bytes(leaf.chain)
        root = ca.issuer("Test Root").certificate.public_bytes(Encoding.PEM)
        (tmp_path / "root.pem").write_bytes(root)
        openssl("verify", "-x509_strict", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "leaf.pem", tmp_path / "leaf.pem")  # fmt: skip
        checked = subprocess.run(
            [
                program("certtool", "gnutls-bin"),
                "--verify",
                "--load-ca-certificate",
                str(tmp_path / "root.pem"),
                "--infile",
                str(tmp_path / "leaf.pem"),
            ],
            capture_output=True,
            timeout=15,
            text=True,
        )
        assert "Verified" in checked.stdout, checked.stdout + checked.stderr
        revoke(ca, leaf.serial, "key-compromise", "alice")
        crls = current(ca, ca.issuer(), 0)
        said = openssl("crl", "-inform", "DER", "-noout", "-text", given=crls).decode()
        assert leaf.serial.upper() in said
        assert "Key Compromise" in said
        assert audit.verify(ca.settings.directory).wrong == []


def test_the_token_says_that_the_key_cannot_leave_it(tmp_path: Path, token: str) -> None:
    with authority(tmp_path, key_place=token) as ca:
        said = ca.keys.attest(ca.issuer().key)
        assert said == {
            "sensitive": True,
            "always_sensitive": True,
            "extractable": False,
            "never_extractable": True,
            "local": True,
        }
        assert "1234" not in ca.issuer().key


def test_many_threads_sign_at_once(tmp_path: Path, token: str) -> None:
    """The binding initialises libraries for one thread and lets go of the lock: this crashed in 16 of 16 runs before
    we initialised them ourselves."""
    with authority(tmp_path, key_place=token) as ca:
        key = ca.keys.open(ca.issuer().key)
        failures: list[BaseException] = []

        def work() -> None:
            from cryptography.hazmat.primitives import hashes
            from cryptography.hazmat.primitives.asymmetric import ec

            try:
                for number in range(300):
                    key.sign(b"%d" % number, ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg, arg-type]
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failures == []
        answers = issue(ca, [(order(ca, f"dns:h{n}.example.com"), None) for n in range(64)])
        assert all(isinstance(each, Certified) for each in answers)


def test_signing_goes_on_after_the_library_was_restarted(tmp_path: Path, token: str) -> None:
    import ctypes

    with authority(tmp_path, key_place=token) as ca:
        issued(ca)
        ctypes.CDLL(SOFTHSM).C_Finalize(None)
        issued(ca)
        module = module_of(SOFTHSM)
        module.reset(module.generation)
        issued(ca)
        assert audit.verify(ca.settings.directory).wrong == []


def test_the_second_token_takes_over(
    tmp_path: Path, token: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The first URI leads to a token that is not there; the key itself is found in the second."""
    with authority(tmp_path, key_place=token) as ca:
        reference = ca.issuer().key
    away = reference.replace("token=certwatch", "token=away")
    ring = KeyRing(Secrets(passphrase=lambda: b"", pin=lambda: None), more_tokens=[token])
    assert ring.open(away).public_key() == ring.open(reference).public_key()
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    ring.open(away).sign(b"x", ec.ECDSA(hashes.SHA256()))  # type: ignore[call-arg, arg-type]


def test_signing_goes_on_in_the_second_token_when_the_first_vanishes_at_work(tmp_path: Path) -> None:
    """Both hold the same key, as after a cloning by the manufacturer's tool. In a process of its own: what happens to a
    library happens to all its tokens."""
    first, second = softhsm(tmp_path, "vanishing"), softhsm(tmp_path, "standing-by")
    key = generate("ec-p256")
    (tmp_path / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for label in ("vanishing", "standing-by"):
        subprocess.run(
            ["softhsm2-util", "--import", tmp_path / "key.pem", "--token", label, "--pin", "1234", "--label", "issuing", "--id", "A1B2"],
            check=True, capture_output=True, timeout=15,
        )  # fmt: skip
    script = f"""
import ctypes, subprocess
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from certwatch.ca.keys import KeyRing, Secrets
from certwatch.telemetry.metrics import CA_TOKEN_FAILURES
ring = KeyRing(Secrets(passphrase=lambda: b"", pin=lambda: None), more_tokens=[{second!r}])
key = ring.open({first.replace("?", ";object=issuing;id=%A1%B2?", 1)!r})
def sign():
    signature = key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, b"x", ec.ECDSA(hashes.SHA256()))
    failed = sum(each.value for metric in CA_TOKEN_FAILURES.collect() for each in metric.samples if each.name.endswith("_total"))
    print("signed", int(failed))
sign()
subprocess.run(["softhsm2-util", "--delete-token", "--token", "vanishing"], check=True, capture_output=True)
# SoftHSM notices when it is initialised anew; its sessions are dead then, as those of a device that was unplugged.
ctypes.CDLL({SOFTHSM!r}).C_Finalize(None)
sign()
sign()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    before, *after = [int(line.split()[1]) for line in done.stdout.splitlines()]
    assert before == 0
    assert len(after) == 2
    assert min(after) > 0


def test_a_wrong_pin_is_said_and_tried_once(tmp_path: Path, token: str) -> None:
    """In a process of its own: a login counts for the whole process."""
    script = f"""
import sys
from certwatch.ca.keys import KeyRing, Secrets
from certwatch.ca.failure import CAError
tries = []
def pin():
    tries.append(1)
    return "9999"
ring = KeyRing(Secrets(passphrase=lambda: b"", pin=pin))
try:
    ring.create({token.partition("&pin-source")[0]!r}, "ec-p256", "x")
except CAError as error:
    print(error.kind, len(tries), error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.startswith("pin 1 "), done.stdout + done.stderr


def test_a_token_that_is_not_there_is_said(tmp_path: Path, token: str) -> None:
    with (
        pytest.raises(CAError, match="no such token") as raised,
        authority(tmp_path, key_place=f"pkcs11:token=nowhere?module-path={SOFTHSM}"),
    ):
        pass
    assert raised.value.kind == "token"
    with pytest.raises(CAError, match="no such PKCS#11 library"):
        KeyRing(Secrets(passphrase=lambda: b"", pin=lambda: "1")).create(
            "pkcs11:token=x?module-path=/nowhere.so", "ec-p256", "x"
        )
