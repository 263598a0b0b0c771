"""The certificate that is to go: whether it still lies there, and what is said where it does not."""

from collections.abc import Sequence

from certwatch.model.certificate import Certificate
from certwatch.plugins.deployer import DeployFailed
from certwatch.x509.der import read


def is_former(chain: Sequence[bytes], former: Certificate) -> bool:
    """`chain`: what lies there, DER, leaf first."""
    return bool(chain) and read(chain[0]).fingerprint_sha256 == former.fingerprint_sha256


def not_as_planned() -> DeployFailed:
    """Before anything was done."""
    return DeployFailed(
        "changed", "holds another certificate than the one that was planned to go. Plan it anew"
    )


def changed_meanwhile() -> DeployFailed:
    """Since the roll-out began."""
    return DeployFailed("changed", "somebody else has changed it meanwhile: it stays as they made it")
