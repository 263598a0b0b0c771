"""The append-only tree of RFC 6962, 2.1: of a log's entries, and of the embedded CA's ledger. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

EMPTY = sha256(b"").digest()
#: Hashes in a full tile (C2SP tlog-tiles), and its height.
TILE_WIDTH, TILE_HEIGHT = 256, 8


class ProofError(Exception):
    """A proof does not prove what it should. The message says how."""


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
        """Add leaf hashes, level by level: the fast way for many."""
        nodes = list(leaves)
        added, height = len(nodes), 0
        peaks = self._by_height()
        while nodes:
            left = peaks.pop(height, None)
            if left is not None:
                nodes.insert(0, left)
            if len(nodes) & 1:
                peaks[height] = nodes.pop()
            nodes = _parents(nodes)
            height += 1
        self.size += added
        self.peaks = [peaks[height] for height in sorted(peaks, reverse=True)]

    def push(self, height: int, hash: bytes) -> None:
        """Add a complete subtree of 2**height leaves. The size must be a multiple of that."""
        if self.size % (1 << height):
            raise ValueError(f"a subtree of height {height} does not begin at {self.size}")
        position = self.size >> height
        while position & 1:
            hash = node_hash(self.peaks.pop(), hash)
            position >>= 1
        self.peaks.append(hash)
        self.size += 1 << height

    def copy(self) -> "Tree":
        return Tree(self.size, list(self.peaks))

    def _by_height(self) -> dict[int, bytes]:
        heights = [each for each in range(self.size.bit_length() - 1, -1, -1) if self.size >> each & 1]
        return dict(zip(heights, self.peaks, strict=True))

    @property
    def root(self) -> bytes:
        """Empty: SHA-256 of nothing."""
        return fold(self.peaks)


def _parents(nodes: Sequence[bytes]) -> list[bytes]:
    make = sha256
    return [
        make(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=True)
    ]


def root_of(leaves: Sequence[bytes]) -> bytes:
    tree = Tree()
    tree.extend(leaves)
    return tree.root


def missing_subtrees(first: int, second: int) -> Iterator[tuple[int, int]]:
    """(height, index) of the largest complete subtrees that a tree of `first` leaves lacks to have `second`, in order: what
    `Tree.push` takes."""
    while first < second:
        height = (first & -first).bit_length() - 1 if first else second.bit_length() - 1
        while first + (1 << height) > second:
            height -= 1
        yield height, first >> height
        first += 1 << height


class Stretch:
    """Leaves behind a known tree: proofs of inclusion in the tree that they make, without asking anybody."""

    def __init__(self, before: Tree, leaves: Sequence[bytes]) -> None:
        self._start = before.size
        self._end = before.size + len(leaves)
        self._leaves = leaves
        self._known: dict[tuple[int, int], bytes] = {}
        position = 0
        for height, peak in before._by_height().items():
            self._known[position, position + (1 << height)] = peak
            position += 1 << height

    def audit_path(self, index: int) -> list[bytes]:
        """From the leaf up (RFC 6962, 2.1.1), in the tree of all leaves up to here."""
        if not self._start <= index < self._end:
            raise IndexError(index)
        path: list[bytes] = []
        low, high = 0, self._end
        while high - low > 1:
            middle = low + _split(high - low)
            if index < middle:
                path.append(self._hash(middle, high))
                high = middle
            else:
                path.append(self._hash(low, middle))
                low = middle
        return path[::-1]

    def _hash(self, low: int, high: int) -> bytes:
        known = self._known.get((low, high))
        if known is None:
            if high - low == 1:
                return self._leaves[low - self._start]
            middle = low + _split(high - low)
            known = self._known[low, high] = node_hash(self._hash(low, middle), self._hash(middle, high))
        return known


def _split(size: int) -> int:
    """The largest power of two below `size` (2 or more)."""
    return 1 << (size - 1).bit_length() - 1


def path_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Entries below each hash of the audit path of `index` in a tree of `size`, from the leaf up (RFC 6962, 2.1.1)."""
    low, high, ranges = 0, size, list[tuple[int, int]]()
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            ranges.append((middle, high))
            high = middle
        else:
            ranges.append((low, middle))
            low = middle
    return ranges[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162, 2.1.3.2. Raises ProofError."""
    if root_by_path(index, size, leaf, path) != root:
        raise ProofError(f"entry {index} is not in the tree of {size} entries with that root")


def root_by_path(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """The root that an audit path leads to. Raises ProofError: it has not as many hashes as it must."""
    hash = leaf
    for sibling, is_left in _siblings(index, size, path):
        hash = node_hash(sibling, hash) if is_left else node_hash(hash, sibling)
    return hash


def left_siblings(index: int, size: int, path: Sequence[bytes]) -> Tree:
    """The tree of all entries before `index`, as its audit path in a larger tree has it. To be believed only after the path
    was verified. Raises ProofError."""
    peaks = [sibling for sibling, is_left in _siblings(index, size, path) if is_left]
    return Tree(index, peaks[::-1])


def _siblings(index: int, size: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    if not 0 <= index < size:
        raise ProofError(f"there is no entry {index} in a tree of {size}")
    node, last = index, size - 1
    for sibling in path:
        if last == 0:
            raise ProofError("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            yield sibling, True
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            yield sibling, False
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the proof has fewer hashes than the tree has levels")


def verify_consistency(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """That the tree of `second` entries has the one of `first` as its beginning (RFC 9162, 2.1.4.2). Raises ProofError."""
    if first > second:
        raise ProofError(f"a tree of {second} entries cannot continue one of {first}")
    if first == second:
        if proof or first_root != second_root:
            raise ProofError(f"two roots for one size, {first}")
        return
    if first == 0:
        if proof or first_root != EMPTY:
            raise ProofError("an empty tree has another root, or needs no proof")
        return
    hashes = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not hashes:
        raise ProofError("the proof is empty")
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = hashes[0]
    for hash in hashes[1:]:
        if last == 0:
            raise ProofError("the proof has more hashes than the tree has levels")
        if node & 1 or node == last:
            old, new = node_hash(hash, old), node_hash(hash, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, hash)
        node >>= 1
        last >>= 1
    if last != 0:
        raise ProofError("the proof has fewer hashes than the tree has levels")
    if old != first_root:
        raise ProofError(f"the tree of {second} entries has another beginning than the one of {first}")
    if new != second_root:
        raise ProofError(f"the proof leads to another root for {second} entries than the signed one")


def proof_ranges(first: int, second: int) -> list[tuple[int, int]]:
    """Of which entries (from, up to) the hashes are that prove the tree of `second` to continue that of `first`, in the proof's
    order (RFC 6962, 2.1.2)."""
    if not 0 < first < second:
        return []
    found: list[tuple[int, int]] = []
    low, high, is_whole = 0, second, True
    while first != high:
        middle = low + _split(high - low)
        if first <= middle:
            found.append((middle, high))
            high = middle
        else:
            found.append((low, middle))
            low, is_whole = middle, False
    if not is_whole:
        found.append((low, high))
    return found[::-1]


def consistency_proof(leaves: Sequence[bytes], first: int) -> list[bytes]:
    """RFC 6962, 2.1.2, of a whole tree at hand: what a log's server answers."""
    stretch = Stretch(Tree(), leaves)
    return [stretch._hash(low, high) for low, high in proof_ranges(first, len(leaves))]


def fold(peaks: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that follow on one another, largest first. Empty: SHA-256 of nothing."""
    if not peaks:
        return EMPTY
    hash = peaks[-1]
    for peak in reversed(peaks[:-1]):
        hash = node_hash(peak, hash)
    return hash


def subtree_in_tile(height: int, index: int, tile: Sequence[bytes]) -> bytes:
    """Hash of the complete subtree (height, index), from the hashes of the tile that holds it: level height // 8. Raises
    ProofError: the tile does not reach so far."""
    inner = height % TILE_HEIGHT
    first = (index << inner) % TILE_WIDTH
    hashes = list(tile[first : first + (1 << inner)])
    if len(hashes) != 1 << inner:
        raise ProofError(f"a tile of {len(tile)} hashes is too short")
    while len(hashes) > 1:
        hashes = _parents(hashes)
    return hashes[0]
