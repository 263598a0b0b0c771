"""How certificates that stand together belong together."""

import itertools
from collections.abc import Sequence
from typing import Literal

from certwatch.model.certificate import Certificate


def arrangement(certificates: Sequence[Certificate]) -> Literal["chain", "bundle"]:
    """A chain if each names the next as its issuer; else a bundle. One alone is a chain, unless it is a root."""
    if len(certificates) == 1:
        alone = certificates[0]
        return "bundle" if alone.is_ca and alone.is_self_issued else "chain"
    linked = all(
        lower.issuer_der is not None and lower.issuer_der == upper.subject_der
        for lower, upper in itertools.pairwise(certificates)
    )
    if linked and not all(each.is_self_issued for each in certificates):
        return "chain"
    # Out of order, but of one leaf: a chain that someone must put right.
    leaves = sum(not each.is_ca for each in certificates)
    return "chain" if leaves == 1 and len(certificates) <= 10 else "bundle"
