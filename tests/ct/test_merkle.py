from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certwatch.ct.merkle import (
    EMPTY,
    ProofError,
    Stretch,
    Tree,
    consistency_proof,
    leaf_hash,
    left_siblings,
    missing_subtrees,
    node_hash,
    root_of,
    subtree_in_tile,
    verify_consistency,
    verify_inclusion,
)

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


LEAVES = [leaf_hash(b"%d" % each) for each in range(1100)]


@given(st.integers(0, 1000), st.integers(0, 100))
def test_adding_many_at_once_is_adding_one_after_the_other(before: int, more: int) -> None:
    tree = Tree()
    for leaf in LEAVES[:before]:
        for _ in tree.append(leaf):
            pass
    tree.extend(LEAVES[before : before + more])
    assert tree.size == before + more
    assert tree.root == root_of(LEAVES[: before + more])


@given(st.data())
def test_a_stretch_proves_each_of_its_leaves_in_the_tree_that_it_makes(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 600))
    before = data.draw(st.integers(0, size - 1))
    index = data.draw(st.integers(before, size - 1))
    tree = Tree()
    tree.extend(LEAVES[:before])
    path = Stretch(tree, LEAVES[before:size]).audit_path(index)
    root = root_of(LEAVES[:size])
    verify_inclusion(index, size, LEAVES[index], path, root)
    earlier = left_siblings(index, size, path)
    assert earlier.root == root_of(LEAVES[:index])
    with pytest.raises(ProofError):
        verify_inclusion(index, size, LEAVES[index + 1], path, root)
    with pytest.raises(ProofError):
        verify_inclusion(index, size, LEAVES[index], [*path, path[0] if path else EMPTY], root)
    if path:
        with pytest.raises(ProofError):
            verify_inclusion(index, size, LEAVES[index], path[:-1], root)


@given(st.integers(1, 600), st.integers(0, 100))
def test_consistency_is_proven_and_a_fork_is_not(first: int, more: int) -> None:
    second = first + more
    old, new = root_of(LEAVES[:first]), root_of(LEAVES[:second])
    proof = consistency_proof(LEAVES[:second], first)
    verify_consistency(first, second, old, new, proof)
    with pytest.raises(ProofError):
        verify_consistency(first, second, EMPTY, new, proof)
    with pytest.raises(ProofError):
        verify_consistency(first, second, old, EMPTY, proof)
    with pytest.raises(ProofError):
        verify_consistency(first, second, old, new, [*proof, EMPTY])


@given(st.binary(max_size=200), st.integers(0, 1 << 64), st.integers(0, 1 << 64), st.integers(0, 70))
def test_no_proof_is_too_strange(noise: bytes, first: int, second: int, count: int) -> None:
    proof = [noise] * count
    for check in (
        lambda: verify_inclusion(first, second, noise, proof, noise),
        lambda: verify_consistency(first, second, noise, EMPTY, proof),
        lambda: left_siblings(first, second, proof),
    ):
        try:
            check()
        except ProofError:
            pass


@given(st.integers(0, 70_000), st.integers(0, 70_000))
def test_what_a_tree_lacks_are_complete_subtrees_that_follow_on_one_another(first: int, second: int) -> None:
    position = first
    for height, index in missing_subtrees(first, second):
        assert index << height == position
        position += 1 << height
    assert position == max(first, second)


def test_a_tree_is_completed_from_the_hashes_of_tiles() -> None:
    for first, second in ((0, 1100), (1, 257), (256, 1100), (700, 1027), (1027, 1100)):
        tree = Tree()
        tree.extend(LEAVES[:first])
        for height, index in missing_subtrees(first, second):
            level, start = divmod(height, 8)[0], index << (height % 8)
            width = 256**level
            tile = [
                root_of(LEAVES[each * width : (each + 1) * width])
                for each in range(start & ~255, min((start & ~255) + 256, second // width))
            ]
            tree.push(height, subtree_in_tile(height, index, tile))
        assert tree.root == root_of(LEAVES[:second])
    with pytest.raises(ProofError):
        subtree_in_tile(3, 0, LEAVES[:7])
