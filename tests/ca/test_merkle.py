from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from certwatch.ca.merkle import EMPTY, Tree, leaf_hash, node_hash, root_of

#: The eight inputs and roots that Certificate Transparency's implementations test with (RFC 6962, 2.1).
INPUTS = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = {
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


def test_the_roots_are_those_of_the_standard() -> None:
    for size, root in ROOTS.items():
        assert root_of([leaf_hash(each) for each in INPUTS[:size]]).hex() == root
    assert root_of([]) == EMPTY == sha256(b"").digest()


def recursive(leaves: list[bytes]) -> bytes:
    """As RFC 6962 writes it."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return node_hash(recursive(leaves[:half]), recursive(leaves[half:]))


@given(st.integers(1, 700))
def test_appending_gives_the_root_that_the_definition_gives(size: int) -> None:
    leaves = [leaf_hash(b"%d" % each) for each in range(size)]
    assert root_of(leaves) == recursive(leaves)


def test_tiles_above_get_the_root_of_each_full_tile_below() -> None:
    leaves = [leaf_hash(b"%d" % each) for each in range(256 * 256 + 300)]
    tree = Tree()
    nodes: list[tuple[int, int, bytes]] = []
    for leaf in leaves:
        nodes += tree.append(leaf)
    first = [hash for level, _, hash in nodes if level == 1]
    assert [position for level, position, _ in nodes if level == 1] == list(range(257))
    assert first[3] == recursive(leaves[768:1024])
    assert [(position, hash) for level, position, hash in nodes if level == 2] == [
        (0, recursive(first[:256]))
    ]
