"""The API holds what its document promises, whatever it is asked: schemathesis against a running daemon."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certwatch.plugins.testing import make_certificate
from tests.support.daemon import certwatch

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"


def test_every_answer_is_as_the_document_says(tmp_path: Path) -> None:
    (tmp_path / "site.pem").write_bytes(make_certificate().pem)
    collectors = f"\n  - {{name: hosts, kind: file, every: 1h, paths: ['{tmp_path}/site.pem']}}\n"
    with certwatch(tmp_path, collectors) as daemon:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                f"http://127.0.0.1:{daemon.port}/api/v1/openapi.json",
                *(
                    "--checks",
                    CHECKS,
                    "--max-examples",
                    "25",
                    "--seed",
                    "1",
                    "--no-color",
                    "--phases",
                    "examples,coverage,fuzzing",
                ),
            ],
            capture_output=True,
            text=True,
            timeout=170,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    # It has asked, and not only read the document.
    asked = re.search(r"(\d+) generated, (\d+) passed|Test cases:\s*\n?\s*(\d+)", done.stdout)
    assert asked is not None, done.stdout[-2000:]
    assert int(asked[1] or asked[3]) > 300
