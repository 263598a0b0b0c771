"""What a server that keeps secrets refuses, told as a deployer tells it."""

from collections.abc import Mapping

from certwatch.plugins.deployer import DeployErrorKind, DeployFailed

KINDS: Mapping[int, DeployErrorKind] = {401: "permission", 403: "permission", 404: "not-found"}


def refused(
    status: int,
    message: str,
    *,
    kinds: Mapping[int, DeployErrorKind],
    advice: Mapping[int, str],
) -> DeployFailed:
    """`status` of HTTP, 0: there was no answer. `kinds`: more of them than `KINDS`; of any other status it is "unavailable".
    `advice`: what to do about a status, a sentence."""
    what = f". {advice[status]}" if status in advice else ""
    return DeployFailed(
        {**KINDS, **kinds}.get(status, "unavailable"), f"{message}{what}", again=status in (0, 429, 503)
    )
