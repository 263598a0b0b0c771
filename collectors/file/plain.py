"""Certificates and keys as they lie in most files and Secrets: PEM, or certificates in DER one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

from certwatch.x509 import der, pem

#: Of what cannot be read, said one by one.
MOST_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Plain:
    #: DER, in the order in which they lie there.
    chain: Sequence[bytes]
    #: PEM.
    keys: Sequence[bytes]
    #: Of certificates, each one sentence.
    problems: Sequence[str]
    #: There is something else that is well-formed: a CRL, parameters.
    has_others: bool

    def told(self) -> str:
        """What cannot be read, in a line."""
        more = len(self.problems) - MOST_PROBLEMS
        return "; ".join(self.problems[:MOST_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")


def read_plain(data: bytes) -> Plain:
    chain: list[bytes] = []
    keys: list[bytes] = []
    problems: list[str] = []
    has_others = False
    if b"-----BEGIN " in data:
        for block in pem.blocks(data):
            if block.problem is not None:
                if "CERTIFICATE" in block.label:
                    problems.append(block.problem)
            elif block.is_certificate:
                chain.append(block.data)
            elif block.is_private_key:
                keys.append(block.pem)
            else:
                has_others = True
    elif data[:1] == b"\x30":
        chain, problems = der.series(data)
    return Plain(chain, keys, problems, has_others)
