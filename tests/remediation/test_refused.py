"""What a server refuses, in a deployer's words."""

import pytest

from certwatch.plugins.deployer import DeployErrorKind
from certwatch.remediation.deployers.refused import refused


@pytest.mark.parametrize(
    ("status", "kind", "again"),
    [
        (0, "unavailable", True),
        (401, "permission", False),
        (403, "permission", False),
        (404, "not-found", False),
        (409, "changed", False),
        (418, "unavailable", False),
        (429, "unavailable", True),
        (500, "unavailable", False),
        (503, "unavailable", True),
    ],
)
def test_a_refusal_has_a_kind_and_says_whether_to_try_again(
    status: int, kind: DeployErrorKind, again: bool
) -> None:
    failed = refused(status, "said", kinds={409: "changed"}, advice={})
    assert (failed.kind, failed.message, failed.again) == (kind, "said", again)


def test_what_to_do_follows_what_the_server_said() -> None:
    failed = refused(403, "403 forbidden", kinds={}, advice={403: "Grant it"})
    assert failed.message == "403 forbidden. Grant it"
