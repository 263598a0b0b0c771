"""A CA that says "too many", and until when."""

from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import requests

from certwatch.model.clock import system_clock
from certwatch.plugins.issuer import IssueFailed, IssuerContext
from certwatch.remediation.issuers.acme import LIMIT_SECONDS, AcmeConfig, AcmeIssuer
from certwatch.remediation.issuers.acme.account import LONGEST_WAIT, Network


def answer(retry_after: str | None, problem: str = "rateLimited") -> requests.Response:
    made = requests.Response()
    made.status_code = 429
    made.headers["Content-Type"] = "application/problem+json"
    if retry_after is not None:
        made.headers["Retry-After"] = retry_after
    made._content = (
        f'{{"type": "urn:ietf:params:acme:error:{problem}", "detail": "too many certificates"}}'.encode()
    )
    return made


def failed(folder: Path, response: requests.Response) -> IssueFailed:
    config = AcmeConfig(directory="https://ca.example/dir", agree_to_terms=True, http={"listen": "80"})  # type: ignore[arg-type]
    issuer = AcmeIssuer(config, IssuerContext(clock=system_clock, state_folder=folder))
    with pytest.raises(IssueFailed) as found:
        issuer._translated(Network._check_response, response)
    return found.value


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7200", 7200.0),
        (None, LIMIT_SECONDS),
        ("soon", LIMIT_SECONDS),
        ("-5", LIMIT_SECONDS),
        ("99999999999999", LONGEST_WAIT),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", LIMIT_SECONDS),
    ],
)
def test_it_is_left_alone_until_then(tmp_path: Path, said: str | None, seconds: float) -> None:
    found = failed(tmp_path, answer(said))
    assert (found.kind, found.again, found.retry_after) == ("limit", True, seconds)
    assert "too many certificates" in found.message


def test_a_date_is_as_good_as_seconds(tmp_path: Path) -> None:
    found = failed(tmp_path, answer(format_datetime(system_clock() + timedelta(hours=3), usegmt=True)))
    assert found.retry_after == pytest.approx(3 * 3600, abs=60)


def test_other_problems_are_no_limit(tmp_path: Path) -> None:
    found = failed(tmp_path, answer("60", "rejectedIdentifier"))
    assert (found.kind, found.again) == ("refused", False)
