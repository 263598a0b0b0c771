"""Keys in a TPM, through Debian's PKCS#11 library for it."""

import json
from pathlib import Path

import pytest

from tests.support.tpm import LABEL, MODULE, PIN, run_with_tpm

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

SCRIPT = f"""
import json
from pathlib import Path
from certwatch.ca import audit
from certwatch.ca.crl import current, revoke
from certwatch.ca.issue import Certified, issue
from certwatch.model.clock import system_clock
from tests.support.cas import authority, issued, order
place = "pkcs11:token={LABEL}?module-path={MODULE}&pin-value={PIN}"
said = {{}}
for key_type in ("ec-p256", "rsa-2048"):
    folder = Path.cwd() / key_type
    folder.mkdir()
    with authority(folder, system_clock, key_place=place, key_type=key_type, intermediate=True) as ca:
        leaf = issued(ca)
        leaf.certificate.verify_directly_issued_by(ca.issuer().certificate)
        ca.issuer().certificate.verify_directly_issued_by(ca.issuer("Test Root").certificate)
        revoke(ca, leaf.serial, "superseded", "alice")
        crl = current(ca, ca.issuer(), 0)
        # In two threads, as the service has it.
        many = issue(ca, [(order(ca, f"dns:h{{n}}.example.com"), None) for n in range(24)])
        said[key_type] = dict(
            attested=ca.keys.attest(ca.issuer().key),
            issued=sum(isinstance(each, Certified) for each in many),
            crl=len(crl),
            wrong=audit.verify(ca.settings.directory).wrong,
        )
    # Opened anew: found again by its id.
    with authority(folder, system_clock, key_place=place) as ca:
        said[key_type]["again"] = issued(ca).serial
print("RESULT", json.dumps(said))
"""


def test_a_ca_has_its_keys_in_a_tpm(tmp_path: Path) -> None:
    done = run_with_tpm(tmp_path, SCRIPT)
    logs = "".join(f"\n{each.name}: {each.read_text()[-600:]}" for each in tmp_path.glob("*.log"))
    assert done.returncode == 0, f"{done.returncode}\n{done.stderr[-3000:]}{logs}"
    [line] = [each for each in done.stdout.splitlines() if each.startswith("RESULT ")]
    for said in json.loads(line.removeprefix("RESULT ")).values():
        assert said["attested"] == {
            "sensitive": True,
            "always_sensitive": True,
            "extractable": False,
            "never_extractable": True,
            "local": True,
        }
        assert said["issued"] == 24
        assert said["wrong"] == []
        assert said["again"]
