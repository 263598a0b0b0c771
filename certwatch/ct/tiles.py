"""Where tiles are (C2SP tlog-tiles, static-ct-api)."""

from certwatch.ct.merkle import TILE_HEIGHT, TILE_WIDTH


def tile_path(level: int | str, index: int, width: int = TILE_WIDTH) -> str:
    """`level`: number, or "data", "names". Less than `TILE_WIDTH`: a partial tile."""
    groups = [f"{index % 1000:03d}"]
    while index >= 1000:
        index //= 1000
        groups.append(f"x{index % 1000:03d}")
    path = f"tile/{level}/{'/'.join(reversed(groups))}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def tile_width(level: int, index: int, size: int) -> int:
    """Hashes that this tile has in a tree of `size` leaves; 0: it is not there."""
    return max(0, min(TILE_WIDTH, (size >> TILE_HEIGHT * level) - index * TILE_WIDTH))
