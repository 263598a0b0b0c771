"""What a log is to whoever reads it, whichever of the two protocols it speaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from certwatch.ct.heads import SignedHead
from certwatch.ct.leaves import Beside
from certwatch.ct.merkle import Tree


class LogError(Exception):
    """A log did not answer as it must. `again`: another try may help. The message names the log's URL and what was wrong."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class TooLargeError(LogError):
    """An answer was longer than allowed."""


#: Of one answer with entries: one may have 16 MiB (in base64, 22), and as much beside it.
MAX_BLOCK = 48 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Entries of a log, one after the other. Nothing of it is verified yet."""

    first: int
    #: MerkleTreeLeaf each.
    leaves: Sequence[bytes]
    #: What stands beside each leaf, unread: `LogSource.beside` knows it.
    rest: Sequence[object]


class LogSource(Protocol):
    """Raises LogError where the log does not answer as it must, ProofError and BadSignature where what it says is not true."""

    async def head(self) -> SignedHead:
        """The newest that the log shows: signed by its key."""
        ...

    async def block(self, start: int, end: int, size: int, most: int = MAX_BLOCK) -> Block:
        """Entries from `start`, at least one and none from `end` on, of the tree of `size`. Raises TooLargeError: it has more
        than `most` bytes."""
        ...

    def end_of_block(self, start: int, end: int) -> int:
        """Up to where one request should go, so that pages are whole."""
        ...

    async def consistency(self, first: int, second: SignedHead) -> list[bytes]:
        """Proof that the tree of `second` continues one of `first` entries (RFC 6962, 2.1.2): to be verified by the caller."""
        ...

    async def tree_before(self, index: int, head: SignedHead) -> Tree:
        """The tree of the entries before `index`, verified against the head."""
        ...

    async def has(self, leaf: bytes, index: int | None, head: SignedHead) -> bool:
        """Whether the tree of `head` has an entry of this leaf hash, at `index` if that is known; either is proven as far as the
        protocol can prove it."""
        ...

    async def beside(self, block: Block, position: int, *, is_precertificate: bool) -> Beside:
        """What stands beside a leaf, with its chain. Raises Malformed."""
        ...
