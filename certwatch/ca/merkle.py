"""The append-only tree (RFC 6962, 2.1) that the ledger's entries are the leaves of. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

EMPTY = sha256(b"").digest()
#: Hashes in a full tile (C2SP tlog-tiles), and its height.
TILE_WIDTH, TILE_HEIGHT = 256, 8


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Tree:
    """The roots of the complete subtrees of a tree of `size` leaves, largest first: all that appending needs."""

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf hash. Yields (level, index, hash) of what became a hash in a tile above the lowest one: take them
        all, the tree has grown only then."""
        hash, position, height = leaf, self.size, 0
        while position & 1:
            hash = node_hash(self.peaks.pop(), hash)
            position >>= 1
            height += 1
            if height % TILE_HEIGHT == 0:
                yield height // TILE_HEIGHT, position, hash
        self.peaks.append(hash)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            for _ in self.append(leaf):
                pass

    def copy(self) -> "Tree":
        return Tree(self.size, list(self.peaks))

    @property
    def root(self) -> bytes:
        """Empty: SHA-256 of nothing."""
        if not self.peaks:
            return EMPTY
        hash = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            hash = node_hash(peak, hash)
        return hash


def root_of(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    tree.extend(leaves)
    return tree.root
