"""A TPM 2.0 in software (swtpm), with a resource manager as the kernel has one, and a PKCS#11 token in it (libtpm2-pkcs11)."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.servers import program

MODULE = "/usr/lib/x86_64-linux-gnu/libtpm2_pkcs11.so.1"
LABEL, PIN = "certwatch", "1234"


def run_with_tpm(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run Python code beside a fresh TPM, in a process of its own: its library takes the TPM's address from the environment,
    once. A D-Bus of its own as well: the resource manager is found by it."""
    for name, package in (
        ("swtpm", "swtpm"),
        ("tpm2-abrmd", "tpm2-abrmd"),
        ("pkcs11-tool", "opensc"),
        ("dbus-run-session", "dbus-daemon"),
    ):
        program(name, package)
    if not Path(MODULE).exists():
        program("libtpm2_pkcs11.so.1", "libtpm2-pkcs11-1")
    (folder / "store").mkdir()
    (folder / "state").mkdir()
    (folder / "script.py").write_text(script)
    manager = "tabrmd:bus_type=session"
    (folder / "run.sh").write_text(
        f"""set -u
cd {shlex.quote(str(folder))}
swtpm socket --tpm2 --tpmstate dir=state --ctrl type=unixio,path=tpm.ctrl --server type=unixio,path=tpm \\
    --flags not-need-init,startup-clear >swtpm.log 2>&1 &
tpm=$!
trap 'kill $tpm $manager 2>/dev/null' EXIT
manager=
until [ -S tpm ]; do sleep 0.05; kill -0 $tpm || exit 70; done
/usr/sbin/tpm2-abrmd --session --allow-root --tcti=swtpm:path=tpm >abrmd.log 2>&1 &
manager=$!
# It answers as soon as it has its name on the bus.
tries=0
until pkcs11-tool --module {MODULE} --list-slots >slots.log 2>&1; do
    tries=$((tries + 1)); [ $tries -lt 200 ] || exit 71; sleep 0.1; kill -0 $manager || exit 72
done
pkcs11-tool --module {MODULE} --init-token --slot-index 0 --label {LABEL} --so-pin 5678 >init.log 2>&1 || exit 73
pkcs11-tool --module {MODULE} --init-pin --token-label {LABEL} --login --so-pin 5678 --new-pin {PIN} >>init.log 2>&1 || exit 74
{shlex.quote(sys.executable)} script.py
"""
    )
    env = os.environ | {
        "TPM2_PKCS11_STORE": str(folder / "store"),
        "TPM2_PKCS11_TCTI": manager,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    return subprocess.run(
        ["dbus-run-session", "--", "sh", "run.sh"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=150,
    )
