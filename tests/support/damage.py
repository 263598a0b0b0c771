"""Good bytes made bad, for parsers that must take anything."""

from hypothesis import strategies as st


def damaged(*wholes: bytes) -> st.SearchStrategy[bytes]:
    """One of them with some bytes changed, left out or doubled, and its end cut off or not. The example that fails is
    printed whole, so that it can be kept."""

    def change(whole: bytes, edits: list[tuple[float, int, int]], keep: float) -> bytes:
        data = bytearray(whole)
        for where, value, kind in edits:
            at = int(where * len(data))
            if kind == 0:
                data[at : at + 1] = b""
            elif kind == 1:
                data[at:at] = data[at : at + 20]
            else:
                data[at : at + 1] = bytes([value])
        return bytes(data[: int(keep * len(data)) + 1])

    place = st.floats(0, 0.9999, allow_nan=False)
    # Most damage goes to tags and lengths, which are what a walk believes in.
    value = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x30, 0x7F, 0x80, 0x84, 0xFF]))
    edits = st.lists(st.tuples(place, value, st.integers(0, 5)), min_size=0, max_size=6)
    return st.builds(change, st.sampled_from(wholes), edits, st.one_of(st.just(0.99999), place))
